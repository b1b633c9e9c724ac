"""VPN connections for display, with their edges' reports on the tunnels. Words and states are EC2's."""

from __future__ import annotations

from enum import Enum

import msgspec

from netorch.control.base.private.sealing import sealed_places
from netorch.control.base.private.tunnels import without_edge
from netorch.model.outside.tunnel_problems import sentence
from netorch.model.outside.vpn import CustomerGateway, Tunnel, VpnConnection
from netorch.model.status import ESTABLISHED, TunnelStatus, VpnStatus
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import get, read, read_all, read_vpc
from netorch.store.base import Store


class ConnectionState(Enum):
    """The progress of a connection; EC2's words."""

    PENDING = "pending"  # an edge has not reported on it yet
    AVAILABLE = "available"


class Telemetry(Enum):
    """Whether a tunnel carries packets; EC2's words."""

    UP = "UP"
    DOWN = "DOWN"


class TunnelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A tunnel, with its edge's report."""

    number: int  # 1 or 2
    tunnel: Tunnel
    has_secret: bool  # its edge has one
    said: TunnelStatus | None  # None: no report
    is_stale: bool  # the edge's agent does not run, so `said` may be outdated
    status: Telemetry
    message: str  # EC2's StatusMessage, or why the tunnel cannot be negotiated
    problem: str  # according to its edge, with what to do; empty: none


class VpnInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A VPN connection with its state."""

    connection: VpnConnection
    vpc: Vpc
    customer: str  # name or id of its customer gateway
    state: ConnectionState
    tunnels: tuple[TunnelInfo, ...]


def describe_vpn_connections(store: Store, caller: Caller, vpc_id: str) -> list[VpnInfo]:
    """Return a VPC's VPN connections by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    found = (stored.record for stored in read_all(store, VpnConnection, vpc.vni).values())
    return [_info(store, vpc, connection) for connection in sorted(found, key=lambda one: one.name)]


def describe_vpn_connection(store: Store, caller: Caller, vpn_id: str) -> VpnInfo:
    """Return one VPN connection. Raises ApiError: InvalidVpnConnectionID.NotFound."""
    vpc, connection = read(store, caller, VpnConnection, vpn_id)
    return _info(store, vpc.record, connection.record)


def _info(store: Store, vpc: Vpc, connection: VpnConnection) -> VpnInfo:
    tunnels = tuple(_tunnel(store, connection, number) for number in range(1, len(connection.tunnels) + 1))
    heard = all(info.said is not None for info in tunnels if info.tunnel.edge)
    return VpnInfo(
        connection=connection,
        vpc=vpc,
        customer=_name_of(store, vpc, connection.customer_gateway),
        state=ConnectionState.AVAILABLE if heard else ConnectionState.PENDING,
        tunnels=tunnels,
    )


def _name_of(store: Store, vpc: Vpc, customer_gateway: str) -> str:
    found = get(store, keys.owned("cgw", vpc.owner, customer_gateway), CustomerGateway)
    return (found.record.name if found is not None else "") or customer_gateway


def _tunnel(store: Store, connection: VpnConnection, number: int) -> TunnelInfo:
    tunnel = connection.tunnels[number - 1]
    edge = tunnel.edge
    status = get(store, keys.tunnel_status(edge, connection.id), VpnStatus) if edge else None
    said = status.record.tunnels.get(number) if status is not None else None
    has_secret = bool(edge) and number in sealed_places(store, edge, connection.id)
    is_stale = bool(edge) and store.get(keys.host_live(edge)) is None
    telemetry, message = telemetry_of(connection, number, said, has_secret=has_secret)
    if is_stale and said is not None:
        message += " (as last reported: the edge's agent is not running)"
    return TunnelInfo(
        number=number,
        tunnel=tunnel,
        has_secret=has_secret,
        said=said,
        is_stale=is_stale,
        status=telemetry,
        message=message,
        problem=sentence(said.problem, said.facts) if said is not None and said.problem else "",
    )


def telemetry_of(connection: VpnConnection, number: int, said: TunnelStatus | None, *, has_secret: bool) -> tuple[Telemetry, str]:
    """Return whether a tunnel (1, 2) carries packets, and why not.

    As in EC2, a tunnel with BGP is up while the session is established, another one while it has an IPsec SA.
    """
    tunnel = connection.tunnels[number - 1]
    if not tunnel.edge:
        return Telemetry.DOWN, without_edge(connection)
    if not has_secret:
        return Telemetry.DOWN, f"its edge has no secret for it; netorch vpn rotate {connection.name} --tunnel {number}"
    if said is None:
        return Telemetry.DOWN, "its edge has not reported anything yet"
    if not said.is_up:
        return Telemetry.DOWN, "IPSEC IS DOWN"
    if connection.static:
        return Telemetry.UP, "IPSEC IS UP"
    if said.bgp != ESTABLISHED:
        return Telemetry.DOWN, "IPSEC IS UP"  # but BGP is down
    return Telemetry.UP, f"{said.accepted} BGP ROUTES"
