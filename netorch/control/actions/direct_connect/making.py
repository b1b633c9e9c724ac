"""Build new or changed virtual interfaces, and check them against their VPC, gateway and connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.actions.direct_connect.users import CLIENT_ERROR, mark_of, need, refused
from netorch.control.base import checks
from netorch.control.base.named import add_name
from netorch.control.base.quotas import Quotas, check_limit
from netorch.control.base.writes import Writes
from netorch.errors import ApiError
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.mapping import GatewayMapping
from netorch.model.outside import vif_rules
from netorch.model.outside.direct_connect import (
    MAX_INTERFACES,
    BgpAuthentication,
    Connection,
    VirtualInterface,
)
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.routing.effective import ranges_of
from netorch.model.rules import Violation
from netorch.model.vpc import Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a requested virtual interface."""

    name: str
    connection: str  # its name
    vlan: int
    outer_vlan: int = 0
    mtu: int = 1500
    asn: int = 0
    address: str = ""  # of the edge, with prefix length; default: a random /30
    peer: str = ""  # of the customer's router; default: the other end of `address`
    bfd: bool = False
    secret: Secret | None = None  # with a BGP key
    routes: Sequence[str] = ()
    tags: Tags = {}


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """The surroundings of a new virtual interface."""

    vpc: Vpc
    gateway: VirtualPrivateGateway | None
    mapping: GatewayMapping | None  # of that gateway
    others: tuple[VirtualInterface, ...]  # of the VPC
    vpns: tuple[VpnConnection, ...]  # of the VPC
    vlans: dict[tuple[int, int], str]  # of the connection: (outer VLAN, VLAN) -> its virtual interface
    quotas: Quotas


def new_interface(caller: Caller, around: Around, connection: Connection, wanted: Wanted, *, confirmed: bool) -> VirtualInterface:
    """Return a virtual interface of a VPC on a connection that the VPC's owner may see. Raises ApiError."""
    where, vpc = f"virtual interface {wanted.name!r}", around.vpc
    checks.name(where, wanted.name)
    if any(other.name == wanted.name for other in around.others):
        raise duplicate_name("dxvif", wanted.name, "the VPC")
    gateway = _gateway(where, around, connection)
    _vlan(where, around, connection, wanted)
    check_room(around, connection, where)
    address, peer = ends_of(caller, where, around, wanted)
    vif = VirtualInterface(
        id=caller.new_id("dxvif", vpc.vni),
        vni=vpc.vni,
        name=wanted.name,
        gateway=gateway.id,
        connection=connection.name,
        edge=connection.host,
        device=connection.device,
        vlan=wanted.vlan,
        outer_vlan=wanted.outer_vlan,
        mtu=wanted.mtu,
        asn=wanted.asn,
        address=address,
        peer=peer,
        authentication=BgpAuthentication.MD5 if wanted.secret is not None else BgpAuthentication.NONE,
        bfd=wanted.bfd,
        routes=static_routes(where, vpc, wanted.routes),
        confirmed=confirmed,
        tags=checks.tags(where, wanted.tags),
    )
    check_protocol(where, vif, gateway)
    if wanted.secret is not None:
        check_key(where, wanted.secret)
    return vif


def check_key(where: str, secret: Secret) -> None:
    """Refuse an invalid BGP key. Raises ApiError: DirectConnectClientException."""
    need(where, vif_rules.key_violation(secret.md5))


def _gateway(where: str, around: Around, connection: Connection) -> VirtualPrivateGateway:
    """Return the VPC's gateway, which the connection's edge must carry. Raises ApiError."""
    vpc, gateway = around.vpc, around.gateway
    if gateway is None:
        what = f"VPC {vpc.id} has no virtual private gateway"
        raise ApiError("InvalidVpnGatewayID.NotFound", f"{where}: {what}; create one: netorch vgw create NAME --vpc {vpc.name}")
    edges = [seat.host for seat in around.mapping.seats] if around.mapping is not None else []
    if connection.host not in edges:
        what = f"connection {connection.name} is at edge {connection.host}, and gateway {gateway.id} is at {' and '.join(edges)}"
        fix = "choose a connection at one of these edges, or ask the operator for one: netorch dx connection create"
        raise refused(where, what, fix)
    return gateway


def _vlan(where: str, around: Around, connection: Connection, wanted: Wanted) -> None:
    """Refuse a VLAN that is taken or that the VPC's owner may not use. Raises ApiError."""
    need(where, vif_rules.vlan_violation(wanted.vlan, wanted.outer_vlan))
    text, owner = vif_rules.vlan_text(wanted.vlan, wanted.outer_vlan), around.vpc.owner
    if not vif_rules.may_use(connection, owner, wanted.vlan, wanted.outer_vlan):
        outer = f" --outer-vlan {wanted.outer_vlan}" if wanted.outer_vlan else ""
        fix = f"ask the operator to host it: netorch dx connection hosted add {connection.name} {owner} {wanted.vlan}{outer}"
        raise refused(where, f"VLAN {text} of connection {connection.name} does not belong to {owner}", fix)
    if (taken := around.vlans.get((wanted.outer_vlan, wanted.vlan))) is not None:
        what = f"VLAN {text} of connection {connection.name} is used by virtual interface {taken}"
        raise refused(where, what, "choose another VLAN, or delete that interface")


def check_room(around: Around, connection: Connection, where: str) -> None:
    """Refuse a virtual interface beyond a connection's or gateway's limit. Raises ApiError: DirectConnectClientException."""
    if len(around.vlans) >= MAX_INTERFACES:
        what = f"connection {connection.name} already has {MAX_INTERFACES} virtual interfaces, the most it can have"
        raise refused(where, what, "delete one, or choose another connection")
    count = sum(not other.rejected for other in around.others) + 1
    limit = "virtual_interfaces_per_gateway"
    check_limit(around.quotas, limit, CLIENT_ERROR, f"VPC {around.vpc.id}", count, "virtual interfaces")


def links_of(vifs: Iterable[VirtualInterface], vpns: Iterable[VpnConnection]) -> list[Prefix]:
    """Return the networks of a VPC's virtual interfaces and tunnels; no two may share an address."""
    found = [parse_prefix(vif.address, strict=False) for vif in vifs if not vif.rejected]
    return found + [parse_prefix(tunnel.inside_cidr) for vpn in vpns for tunnel in vpn.tunnels]


def refuse_range(vpc: Vpc, vifs: Iterable[VirtualInterface]) -> None:
    """Refuse ranges of a VPC that overlap a network of its virtual interfaces. Raises ApiError: InvalidVpc.Range."""
    for vif in vifs:
        for link in links_of([vif], ()):
            for found in ranges_of(vpc):
                if found.overlaps(link):
                    text = (
                        f"VPC {vpc.id}: {found} overlaps {link} of {vif.id}; choose another range, or delete that interface first"
                    )
                    raise ApiError("InvalidVpc.Range", text)


def ends_of(caller: Caller, where: str, around: Around, wanted: Wanted) -> tuple[str, str]:
    """Return the addresses of the edge, with prefix length, and of the customer's router. Raises ApiError."""
    links = links_of(around.others, around.vpns)
    if not wanted.address and not wanted.peer:
        found = vif_rules.drawn(caller.entropy(), links)
        if found is None:
            raise refused(where, "no /30 is free for its two addresses", "choose the addresses yourself")
        return found
    if not wanted.address:
        raise refused(
            where, "has only the address of the customer's router", "give the edge's address as well, with its prefix length"
        )
    address, peer = canonical_ends(where, wanted.address, wanted.peer)
    network = vif_rules.link_of(address, peer, [*ranges_of(around.vpc), *links])
    if isinstance(network, Violation):
        raise refused(where, network.what, network.fix)
    return address, peer


def canonical_ends(where: str, address: str, peer: str) -> tuple[str, str]:
    """Return two ends in normal form; the customer's may be omitted. Raises ApiError."""
    text, _, length = address.partition("/")
    own = f"{checks.address(text, where, 4)}/{length}"
    return own, checks.address(peer, where, 4) if peer else vif_rules.other_end(own)


def static_routes(where: str, vpc: Vpc, routes: Iterable[str]) -> tuple[str, ...]:
    """Return static routes in canonical form and in order; none may lie inside the VPC. Raises ApiError."""
    ranges = ranges_of(vpc)
    found = set()
    for text in routes:
        prefix = checks.cidr(text, where, CLIENT_ERROR, lambda text: vif_rules.route(text, ranges))
        found.add(prefix)
    return tuple(map(str, sorted(found)))


def check_protocol(where: str, vif: VirtualInterface, gateway: VirtualPrivateGateway) -> None:
    """Refuse a virtual interface that is invalid alone or together with its gateway. Raises ApiError."""
    has_key = vif.authentication is not BgpAuthentication.NONE
    need(where, vif_rules.mtu_violation(vif.mtu))
    need(where, vif_rules.asn_violation(vif.asn))
    need(where, vif_rules.routing_violation(vif.asn, vif.routes, bfd=vif.bfd, has_key=has_key))
    if vif.asn == gateway.asn:
        what = f"the customer's router has the AS number {vif.asn}, the same as gateway {gateway.id}"
        raise refused(where, what, "give the router another AS number, or create the gateway with another one")


def create_writes(writes: Writes, vpc: Vpc, vif: VirtualInterface) -> None:
    """Add the records of a new virtual interface. The caller guards the VPC's structure, the mapping and the connection."""
    writes.create(keys.resource(vif.id), vif)
    add_name(writes, vpc, vif)
    writes.create(keys.connection_vlan(vif.connection, vif.outer_vlan, vif.vlan), vif.id)
    writes.put(mark_of(vif.connection), True)
