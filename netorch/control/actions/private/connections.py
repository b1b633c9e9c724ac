"""VPN connections: two tunnels between a VPC's virtual private gateway and a customer's device.

Edges tell devices apart by their IKE identities, because both tunnels of all connections on an edge end at one address. So a
pair of edges has one connection per identity, across all owners. A VPC at AWS has two identities, one for each tunnel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netorch.control.actions.private.wishes import TunnelWish, checked_tunnels, checked_wish
from netorch.control.base import checks
from netorch.control.base.named import add_name
from netorch.control.base.pairs import expect_staying, pair_of
from netorch.control.base.private.sealing import seal_writes
from netorch.control.base.private.tunnels import ends, free_inside, inside_networks, seated, tunnel_address
from netorch.control.base.quotas import Quotas, check_limit, quotas_of
from netorch.control.base.structure import delete_part
from netorch.control.base.uses import drop_last_mark, use_key, use_revision
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import (
    NUMBER_LAST,
    Authentication,
    CustomerGateway,
    Tunnel,
    VirtualPrivateGateway,
    VpnConnection,
    ikev1_is_safe,
    peer_identities,
)
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid
from netorch.records.hosts import HostState
from netorch.records.read import Stored, get, read, read_all, read_owned
from netorch.store.base import Store


class AtAws(msgspec.Struct, frozen=True, kw_only=True):
    """What AWS knows of its customer's device, which is the edge."""

    address: str  # IPv4
    asn: int  # 0 without BGP


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a new connection, besides its two ends."""

    name: str
    static: bool = False
    routes: tuple[str, ...] = ()
    local_cidr: str = "0.0.0.0/0"
    remote_cidr: str = "0.0.0.0/0"
    authority: str = ""  # with certificates
    at_aws: AtAws | None = None  # if it leads to a VPC at AWS
    tunnels: tuple[TunnelWish, ...] = ()  # one or two; omitted values are chosen
    tags: Tags = {}

    @property
    def authentication(self) -> Authentication:
        """Return how both ends authenticate."""
        return Authentication.CERTIFICATE if self.authority else Authentication.PSK


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """The surroundings of a new connection."""

    others: Sequence[VpnConnection]  # of the VPC
    taken: Sequence[Prefix]  # networks that its tunnels must not use
    mapping: GatewayMapping
    edges: Mapping[str, HostState]


def create_vpn_connection(
    store: Store, caller: Caller, gateway_id: str, customer_gateway_id: str, wanted: Wanted
) -> tuple[VpnConnection, dict[int, Secret]]:
    """Create a connection; return it and its generated pre-shared keys by tunnel (1, 2). The keys cannot be read later.

    Raises:
      ApiError: InvalidVpnGatewayID.NotFound, InvalidCustomerGatewayID.NotFound, VpnConnectionLimitExceeded,
        InvalidCustomerGateway.DuplicateIpAddress if the pair of edges already has a connection to the device, IncorrectState
        for an edge without a key to seal with, InvalidParameterValue for a bad value or a taken name,
        InvalidParameterCombination.
    """
    where = f"VPN connection {wanted.name!r}"
    asked, made_keys = checked_wish(where, wanted.tunnels, wanted.authentication)
    checks.name(where, wanted.name)

    def decide() -> tuple[Writes, tuple[VpnConnection, dict[int, Secret]]]:
        vpc, gateway = read(store, caller, VirtualPrivateGateway, gateway_id)
        device = read_owned(store, caller, CustomerGateway, customer_gateway_id)
        if device.record.owner != vpc.record.owner:
            what = f"customer gateway {customer_gateway_id} is owned by {device.record.owner}, the VPC by {vpc.record.owner}"
            raise invalid(where, what, "choose a customer gateway of the VPC's owner")
        around, mapping = _around(store, vpc.record, gateway.record, device.record)
        writes = Writes()
        mark = owner_mark(vpc.record.owner)
        writes.change(use_key(mark), use_revision(store, mark), True)
        total = len(store.list(keys.vpn_use(vpc.record.owner)).kvs)
        room(quotas_of(store, vpc.record.owner), gateway_id, around.others, total)
        made = make_connection(caller, where, gateway.record, device.record, asked, wanted, around)
        guard_structure(writes, vpc)
        writes.expect(keys.gateway_mapping(vpc.record.vni, gateway_id), mapping.mod_revision)
        pair = pair_of(store, around.edges)
        if any(store.get(peer) is not None for peer in ike_peers(pair, made)):
            raise doubled(where, made)
        create_writes(writes, vpc.record, pair, device, made, around.edges)
        sealed = secrets_of(made, asked, made_keys)
        for edge in edges_of(made):
            of_edge = {tunnel: secret for tunnel, secret in sealed.items() if made.tunnels[tunnel - 1].edge == edge}
            seal_writes(writes, store, edge, made.id, of_edge)
        shown = {tunnel: key for tunnel, key in made_keys.items() if made.tunnels[tunnel - 1].edge}
        return writes, (made, shown)

    return attempt(store, decide)


def _around(
    store: Store, vpc: Vpc, gateway: VirtualPrivateGateway, device: CustomerGateway
) -> tuple[Surroundings, Stored[GatewayMapping]]:
    mapping = get(store, keys.gateway_mapping(vpc.vni, gateway.id), GatewayMapping)
    assert mapping is not None  # a gateway without one makes its VPC unreadable
    others = [stored.record for stored in read_all(store, VpnConnection, vpc.vni).values()]
    used = [kv.key.rpartition("/")[2] for kv in store.list(keys.vpn_use(device.owner, device.id)).kvs]
    beside = [found.record for found in (get(store, keys.resource(vpn), VpnConnection) for vpn in used) if found is not None]
    vifs = [stored.record for stored in read_all(store, VirtualInterface, vpc.vni).values()]
    edges = seated(store, (seat.host for seat in mapping.record.seats))
    taken = taken_networks([*others, *beside], vifs)
    return Surroundings(others=others, taken=taken, mapping=mapping.record, edges=edges), mapping


def taken_networks(connections: Iterable[VpnConnection], vifs: Iterable[VirtualInterface]) -> list[Prefix]:
    """Return the networks that a new tunnel must not use: those of other tunnels and of the VPC's virtual interfaces."""
    return [*inside_networks(connections), *(parse_prefix(vif.address, strict=False) for vif in vifs)]


def room(quotas: Quotas, gateway_id: str, others: Sequence[VpnConnection], total: int) -> None:
    """Refuse one connection more than a gateway may have, or than its owner with a `total` may have.

    Raises:
      ApiError: VpnConnectionLimitExceeded.
    """
    code, noun = "VpnConnectionLimitExceeded", "VPN connections"
    count = sum(other.gateway == gateway_id for other in others) + 1
    check_limit(quotas, "vpn_connections_per_gateway", code, f"virtual private gateway {gateway_id}", count, noun)
    check_limit(quotas, "vpn_connections", code, f"owner {quotas.owner}", total + 1, noun)


def owner_mark(owner: str) -> str:
    """Return the mark (`use_key`) by which simultaneous creations of an owner's connections conflict."""
    return f"vpn/{owner}"


def doubled(where: str, connection: VpnConnection) -> ApiError:
    """Return the error for a second connection to one device."""
    names = " or ".join(peer_identities(connection))
    what = f"{where}: these edges already have a connection to {names}, by which they tell devices apart"
    return ApiError("InvalidCustomerGateway.DuplicateIpAddress", f"{what}; give the device another IKE identity")


def make_connection(
    caller: Caller,
    where: str,
    gateway: VirtualPrivateGateway,
    device: CustomerGateway,
    asked: Sequence[TunnelWish],
    wanted: Wanted,
    around: Surroundings,
) -> VpnConnection:
    """Return a new connection; `asked` holds its two tunnels. Raises ApiError."""
    if any(other.name == wanted.name for other in around.others):
        raise duplicate_name("vpn", wanted.name, "the VPC")
    number = free_number(where, around.others)
    edges = ends(around.mapping.seats, number)
    if wanted.at_aws is not None:
        edges = (_customer_edge(where, gateway, wanted.at_aws, around.edges),) * len(asked)
    tunnels: list[Tunnel] = []
    taken = list(around.taken)
    for wish, edge in zip(asked, edges, strict=True):
        inside = inside_of(caller, where, wish.inside_cidr, taken)
        taken.append(inside)
        address = tunnel_address(around.edges[edge].host) if edge else ""
        tunnels.append(Tunnel(inside_cidr=str(inside), edge=edge, address=address, remote=wish.remote, options=wish.options))
    routes, local, remote = checked_tunnels(where, wanted.routes, wanted.local_cidr, wanted.remote_cidr, static=wanted.static)
    made = VpnConnection(
        id=caller.new_id("vpn", gateway.vni),
        vni=gateway.vni,
        name=wanted.name,
        gateway=gateway.id,
        customer_gateway=device.id,
        number=number,
        asn=device.asn,
        address=device.address,
        identity=device.identity,
        authentication=wanted.authentication,
        certificates={edge: wish.certificate for wish, edge in zip(asked, edges, strict=True) if edge and wish.certificate},
        authority=wanted.authority,
        static=wanted.static,
        routes=routes,
        local_cidr=local,
        remote_cidr=remote,
        tunnels=tuple(tunnels),
        tags=checks.tags(where, wanted.tags),
    )
    check_device(where, made)
    return made


def check_device(where: str, connection: VpnConnection) -> None:
    """Refuse a device that edges could mistake for another one or for themselves. Raises ApiError: InvalidParameterValue."""
    taken = [name for name in peer_identities(connection) if name in {tunnel.address for tunnel in connection.tunnels}]
    if taken:
        what = f"the device has the address {taken[0]}, which belongs to an edge"
        raise invalid(where, what, "create a customer gateway with the device's own address")
    for place, tunnel in enumerate(connection.tunnels, 1):
        if tunnel.options.ike_versions == ("ikev1",) and not ikev1_is_safe(connection):
            what = "the device has an identity and pre-shared keys, and IKEv1 tells such devices apart by their address only"
            raise invalid(f"{where}: tunnel {place}", what, "use ikev2, or certificates")


def _customer_edge(where: str, gateway: VirtualPrivateGateway, known: AtAws, edges: Mapping[str, HostState]) -> str:
    """Return the edge whose address AWS knows as the customer's device. Raises ApiError."""
    if known.asn and known.asn != gateway.asn:
        what = f"AWS expects AS {known.asn}, and virtual private gateway {gateway.id} has AS {gateway.asn}"
        raise invalid(where, what, f"create a customer gateway with AS {gateway.asn} at AWS")
    found = next((name for name, edge in edges.items() if tunnel_address(edge.host) == known.address), None)
    if found is None:
        addresses = ", ".join(f"{tunnel_address(edge.host)} ({name})" for name, edge in edges.items())
        what = f"AWS expects {known.address}, and no edge of virtual private gateway {gateway.id} has this address"
        raise invalid(where, what, f"create a customer gateway at AWS with the address of an edge's uplink: {addresses}")
    return found


def free_number(where: str, others: Iterable[VpnConnection]) -> int:
    """Return the lowest number that no connection of a VPC has. Raises ApiError: VpnConnectionLimitExceeded."""
    taken = {other.number for other in others}
    found = next((number for number in range(1, NUMBER_LAST + 1) if number not in taken), None)
    if found is None:
        text = f"{where}: the VPC has {NUMBER_LAST} VPN connections, the most that edges can carry; delete one"
        raise ApiError("VpnConnectionLimitExceeded", text)
    return found


def inside_of(caller: Caller, where: str, text: str, taken: Sequence[Prefix]) -> Prefix:
    """Return the requested inside network of a tunnel, or any free one. Raises ApiError."""
    if not text:
        return free_inside(caller, taken)
    found = parse_prefix(text)
    if any(found.overlaps(other) for other in taken):
        fix = "choose another one, or leave it out"
        raise invalid(where, f"{text} is in use inside another tunnel of the VPC or to the same device", fix)
    return found


def create_writes(
    writes: Writes,
    vpc: Vpc,
    pair: str,
    device: Stored[CustomerGateway],
    made: VpnConnection,
    edges: Mapping[str, HostState],
) -> None:
    """Add a new connection. The caller guards the VPC's structure and the gateway's mapping. Raises ApiError.

    The customer gateway is rewritten, so a deletion of it at the same time is decided again. No edge of a tunnel may be in
    deletion.
    """
    writes.create(keys.resource(made.id), made)
    add_name(writes, vpc, made)
    writes.change(keys.owned("cgw", device.record.owner, device.record.id), device.mod_revision, device.record)
    writes.create(keys.vpn_use(vpc.owner, device.record.id, made.id), True)
    for peer in ike_peers(pair, made):
        writes.create(peer, made.id)
    for edge in edges_of(made):
        expect_staying(writes, edges[edge])


def ike_peers(pair: str, connection: VpnConnection) -> tuple[str, ...]:
    """Return the keys that connect a pair of edges and the peers' IKE identities to this connection."""
    return tuple(keys.ike_peer(pair, identity) for identity in peer_identities(connection))


def edges_of(connection: VpnConnection) -> Iterator[str]:
    """Yield each edge on which tunnels end, once."""
    yield from dict.fromkeys(tunnel.edge for tunnel in connection.tunnels if tunnel.edge)


def secrets_of(made: VpnConnection, asked: Sequence[TunnelWish], made_keys: Mapping[int, Secret]) -> dict[int, Secret]:
    """Return the secrets to seal, by tunnel: given or generated ones, for tunnels that have an edge."""
    found = {place: made_keys.get(place) or wish.secret for place, wish in enumerate(asked, 1)}
    return {place: secret for place, secret in found.items() if secret is not None and made.tunnels[place - 1].edge}


def delete_vpn_connection(store: Store, caller: Caller, vpn_id: str) -> None:
    """Delete a VPN connection, with its secrets.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound.
    """

    def decide() -> tuple[Writes, None]:
        vpc, connection = read(store, caller, VpnConnection, vpn_id)
        writes = Writes()
        delete_writes(writes, vpc, connection, pair_of_connection(store, connection.record))
        owner = vpc.record.owner
        drop_last_mark(writes, store, owner_mark(owner), keys.vpn_use(owner))
        return writes, None

    attempt(store, decide)


def pair_of_connection(store: Store, connection: VpnConnection) -> str:
    """Return the pair of edges that carries a connection's gateway. Raises ApiError, UnreadableRecord."""
    mapping = get(store, keys.gateway_mapping(connection.vni, connection.gateway), GatewayMapping)
    return pair_of(store, (seat.host for seat in mapping.record.seats)) if mapping is not None else ""


def delete_writes(writes: Writes, vpc: Stored[Vpc], connection: Stored[VpnConnection], pair: str) -> None:
    """Add the deletion of a connection and of its secrets, status and keys; `pair` carries its gateway."""
    record = connection.record
    delete_part(writes, vpc, connection)
    writes.drop(keys.vpn_use(vpc.record.owner, record.customer_gateway, record.id))
    for peer in ike_peers(pair, record):
        writes.drop(peer)
    for edge in edges_of(record):
        writes.drop(keys.secret(edge, record.id))
        writes.drop(keys.tunnel_status(edge, record.id))
