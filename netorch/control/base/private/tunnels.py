"""On which edges the tunnels of VPN connections end, and which inside networks they have.

A tunnel stays on its edge while the edge has a seat of the gateway. After the edge is removed, the tunnel has no edge until an
edge joins the pair and takes it. A secret is sealed for one edge, so a tunnel on a new edge needs a new secret.

Tunnels to AWS do not move: AWS knows one address of its customer, and another edge does not have that address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import msgspec

from netorch.control.base.pairs import expect_staying
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.eni import Host
from netorch.model.ids import vni_of
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.outside import vpn_rules
from netorch.model.outside.vpn import TUNNELS, Tunnel, VpnConnection, leads_to_aws
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.hosts import HostState, read_host
from netorch.records.read import Stored, get, read_all
from netorch.store.base import Store


def tunnel_address(edge: Host) -> str:
    """Return the address of an edge's tunnel ends: the address of its uplink."""
    return edge.uplink.address.partition("/")[0] if edge.uplink is not None else ""


def ends(seats: Sequence[Seat], number: int) -> tuple[str, ...]:
    """Return the edge of each tunnel of the connection with a number; an empty name for a tunnel without an edge.

    The edges take turns in the first tunnel from connection to connection, because customers prefer the first one.
    """
    first = (number - 1) % len(seats)
    edges = [seat.host for seat in (*seats[first:], *seats[:first])]
    return tuple([*edges, *[""] * TUNNELS][:TUNNELS])


def free_inside(caller: Caller, taken: Iterable[Prefix]) -> Prefix:
    """Return a random free inside network for a tunnel. It overlaps neither `taken` nor EC2's reserved networks.

    The customer's device may have tunnels to several VPCs and must tell them apart. So the order is random.

    Raises:
      ApiError: InsufficientAddressCapacity.
    """
    unfit = [*taken, *vpn_rules.INSIDE_RESERVED]
    size = 1 << (32 - vpn_rules.INSIDE_LENGTH)
    count = (vpn_rules.INSIDE.last + 1 - vpn_rules.INSIDE.network) // size
    first = caller.entropy() % count
    for place in range(count):
        network = vpn_rules.INSIDE.network + (first + place) % count * size
        found = Prefix(4, network, vpn_rules.INSIDE_LENGTH)
        if not any(found.overlaps(other) for other in unfit):
            return found
    raise ApiError("InsufficientAddressCapacity", f"{vpn_rules.INSIDE}: has no free /{vpn_rules.INSIDE_LENGTH}; name one")


def seated(store: Store, edges: Iterable[str]) -> dict[str, HostState]:
    """Return the edges of tunnels by name. Raises ApiError: InvalidHostID.NotFound."""
    return {edge: read_host(store, edge) for edge in edges if edge}


def leave_tunnels(writes: Writes, store: Store, gateway: str, edge: str) -> None:
    """Add that a gateway's tunnels no longer end on an edge, and the deletion of their secrets there."""
    for stored in _connections(store, gateway):
        tunnels = tuple(_without(tunnel) if tunnel.edge == edge else tunnel for tunnel in stored.record.tunnels)
        if tunnels == stored.record.tunnels:
            continue
        certificates = {name: text for name, text in stored.record.certificates.items() if name != edge}
        changed = msgspec.structs.replace(stored.record, tunnels=tunnels, certificates=certificates)
        writes.change(keys.resource(changed.id), stored.mod_revision, changed)
        writes.drop(keys.secret(edge, changed.id))
        writes.drop(keys.tunnel_status(edge, changed.id))


def complete_tunnels(store: Store, edge: str) -> None:
    """Give tunnels without an edge to an edge that has a seat of their gateway, and update the address of those on that edge.

    The next call completes an interrupted one. Cost: O(connections of the gateways that the edge carries).
    """
    for kv in store.list(keys.placement(edge, "")).kvs:
        gateway = kv.key.rpartition("/")[2]
        if gateway_kind(gateway) is TargetKind.VPN_GATEWAY:
            attempt(store, partial(_complete, store, gateway, edge))


def _complete(store: Store, gateway: str, edge: str) -> tuple[Writes, None]:
    state, writes = read_host(store, edge), Writes()
    key = keys.gateway_mapping(vni_of(gateway), gateway)
    mapping = get(store, key, GatewayMapping)
    if mapping is None or not any(seat.host == edge for seat in mapping.record.seats):
        return writes, None
    for stored in _connections(store, gateway):
        tunnels = _with_edge(stored.record.tunnels, state.host)
        if tunnels != stored.record.tunnels:
            changed = msgspec.structs.replace(stored.record, tunnels=tunnels)
            writes.change(keys.resource(changed.id), stored.mod_revision, changed)
    if writes:
        expect_staying(writes, state)
        writes.expect(key, mapping.mod_revision)
    return writes, None


def _with_edge(tunnels: Sequence[Tunnel], edge: Host) -> tuple[Tunnel, ...]:
    """Return tunnels of which one ends on an edge, at its current address; unchanged if both end elsewhere."""
    own = [place for place, tunnel in enumerate(tunnels) if tunnel.edge == edge.name]
    empty = [place for place, tunnel in enumerate(tunnels) if not tunnel.edge and not tunnel.remote]
    here, address = own or empty[:1], tunnel_address(edge)
    return tuple(
        msgspec.structs.replace(tunnel, edge=edge.name, address=address) if place in here else tunnel
        for place, tunnel in enumerate(tunnels)
    )


def _without(tunnel: Tunnel) -> Tunnel:
    return msgspec.structs.replace(tunnel, edge="", address="")


def _connections(store: Store, gateway: str) -> Iterator[Stored[VpnConnection]]:
    """Yield the connections of a gateway."""
    found = read_all(store, VpnConnection, vni_of(gateway)).values()
    return (stored for stored in found if stored.record.gateway == gateway)


def inside_networks(connections: Iterable[VpnConnection]) -> list[Prefix]:
    """Return the networks inside the tunnels of connections."""
    return [parse_prefix(tunnel.inside_cidr) for connection in connections for tunnel in connection.tunnels]


def without_edge(connection: VpnConnection) -> str:
    """Return why a tunnel of a connection has no edge."""
    return "the edge whose address AWS knows was deleted" if leads_to_aws(connection) else "the pair has only one edge"
