"""Changes of existing VPN connections: tunnel options, secrets, static routes and networks."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netorch.control.actions.private.connections import check_device, inside_of, taken_networks
from netorch.control.actions.private.wishes import TunnelWish, check_options, check_secret, checked_route, checked_selector
from netorch.control.base.private.sealing import make_psk, seal_writes
from netorch.control.base.private.tunnels import without_edge
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.outside import vpn_rules
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.secrets import Secret
from netorch.model.outside.vpn import MAX_LEARNED, TUNNELS, Authentication, Tunnel, TunnelOptions, VpnConnection, leads_to_aws
from netorch.model.rules import Violation
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.read import read, read_all
from netorch.store.base import Store


def modify_tunnel(
    store: Store,
    caller: Caller,
    vpn_id: str,
    tunnel: int,
    *,
    inside_cidr: str = "",
    options: Callable[[TunnelOptions], TunnelOptions] = lambda before: before,
) -> VpnConnection:
    """Change the options or the inside network of a tunnel (1, 2) and return the connection; the tunnel is negotiated again.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound, InvalidParameterValue.
    """

    def decide() -> tuple[Writes, VpnConnection]:
        vpc, stored = read(store, caller, VpnConnection, vpn_id)
        connection = stored.record
        before = tunnel_of(connection, tunnel)
        where = f"VPN connection {connection.name}: tunnel {tunnel}"
        wanted = msgspec.structs.replace(before, options=options(before.options))
        check_options(where, wanted.options)
        writes = Writes()
        if inside_cidr and inside_cidr != before.inside_cidr:
            if isinstance(violation := vpn_rules.inside_cidr(inside_cidr), Violation):
                raise invalid(where, violation.what, violation.fix)
            others = [other.record for other in read_all(store, VpnConnection, connection.vni).values()]
            vifs = [vif.record for vif in read_all(store, VirtualInterface, connection.vni).values()]
            inside_of(caller, where, inside_cidr, taken_networks(others, vifs))
            wanted = msgspec.structs.replace(wanted, inside_cidr=inside_cidr)
            guard_structure(writes, vpc)  # a connection created at the same time conflicts
        changed = with_tunnel(connection, tunnel, wanted)
        check_device(f"VPN connection {connection.name}", changed)
        if changed != connection:
            writes.change(keys.resource(vpn_id), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def modify_networks(
    store: Store, caller: Caller, vpn_id: str, *, local_cidr: str | None = None, remote_cidr: str | None = None
) -> VpnConnection:
    """Change the networks at a connection's ends and return the connection; None keeps a network.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound, InvalidParameterValue.
    """

    def change(connection: VpnConnection) -> VpnConnection:
        where = f"VPN connection {connection.name}"
        asked = {"local_cidr": local_cidr, "remote_cidr": remote_cidr}
        wanted = {
            field: checked_selector(where, text, static=connection.static) for field, text in asked.items() if text is not None
        }
        return msgspec.structs.replace(connection, **wanted)

    return _change(store, caller, vpn_id, change)


def create_static_route(store: Store, caller: Caller, vpn_id: str, cidr: str) -> VpnConnection:
    """Add a static route to a connection and return the connection.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound, InvalidVpnConnection.InvalidType for one with BGP, RouteAlreadyExists,
        RouteLimitExceeded, InvalidParameterValue.
    """

    def change(connection: VpnConnection) -> VpnConnection:
        where = _need_static(connection)
        route = checked_route(where, cidr)
        if route in connection.routes:
            raise ApiError("RouteAlreadyExists", f"{where}: already has a route to {route}; there is nothing to add")
        if len(connection.routes) >= MAX_LEARNED:
            raise ApiError(
                "RouteLimitExceeded", f"{where}: already has {MAX_LEARNED} static routes, the most it can have; delete one"
            )
        return msgspec.structs.replace(connection, routes=(*connection.routes, route))

    return _change(store, caller, vpn_id, change)


def delete_static_route(store: Store, caller: Caller, vpn_id: str, cidr: str) -> VpnConnection:
    """Delete a static route of a connection and return the connection.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound, InvalidVpnConnection.InvalidType for one with BGP, InvalidRoute.NotFound,
        InvalidParameterValue.
    """

    def change(connection: VpnConnection) -> VpnConnection:
        where = _need_static(connection)
        route = checked_route(where, cidr)
        if route not in connection.routes:
            text = f"{where}: has no route to {route}; `netorch vpn show {connection.id}` lists its routes"
            raise ApiError("InvalidRoute.NotFound", text)
        return msgspec.structs.replace(connection, routes=tuple(kept for kept in connection.routes if kept != route))

    return _change(store, caller, vpn_id, change)


def _need_static(connection: VpnConnection) -> str:
    where = f"VPN connection {connection.name}"
    if not connection.static:
        text = f"{where}: uses BGP and has no static routes; let the customer's device announce the network"
        raise ApiError("InvalidVpnConnection.InvalidType", text)
    return where


def _change(store: Store, caller: Caller, vpn_id: str, change: Callable[[VpnConnection], VpnConnection]) -> VpnConnection:
    def decide() -> tuple[Writes, VpnConnection]:
        _, stored = read(store, caller, VpnConnection, vpn_id)
        changed, writes = change(stored.record), Writes()
        if changed != stored.record:
            writes.change(keys.resource(vpn_id), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def rotate_secret(
    store: Store, caller: Caller, vpn_id: str, tunnel: int, *, secret: Secret | None = None, certificate: str = ""
) -> tuple[VpnConnection, Secret | None]:
    """Replace the secret of a tunnel (1, 2); return the connection, and the pre-shared key if it was generated here.

    A connection with pre-shared keys gets a generated one if `secret` is None. With certificates, `secret` is the private key
    of the edge's new `certificate`. For tunnels to AWS, AWS generates the keys. The tunnel is negotiated again.

    Raises:
      ApiError: InvalidVpnConnectionID.NotFound, IncorrectState for a tunnel without an edge, or an edge without a key to seal
        with, InvalidParameterValue, InvalidParameterCombination, MissingParameter.
    """
    fresh = Secret(psk=make_psk())

    def decide() -> tuple[Writes, tuple[VpnConnection, Secret | None]]:
        _, stored = read(store, caller, VpnConnection, vpn_id)
        connection = stored.record
        edge, to_aws = tunnel_of(connection, tunnel).edge, leads_to_aws(connection)
        where = f"VPN connection {connection.name}: tunnel {tunnel}"
        check_secret(where, TunnelWish(secret=secret, certificate=certificate), connection.authentication)
        by_psk = connection.authentication is Authentication.PSK
        if not by_psk and not certificate:
            raise ApiError("MissingParameter", f"{where}: needs the edge's certificate and its private key; give both")
        if not edge:
            another = "import a connection to another edge" if to_aws else "ask the operator to add an edge: netorch host create"
            raise ApiError("IncorrectState", f"{where}: ends at no edge, because {without_edge(connection)}; {another}")
        if to_aws and secret is None:
            raise ApiError("MissingParameter", f"{where}: AWS generates its pre-shared key; give the one that AWS shows")
        made = fresh if by_psk and secret is None else None
        writes = Writes()
        seal_writes(writes, store, edge, vpn_id, {tunnel: made or secret or fresh})
        changed = connection
        if certificate:
            changed = msgspec.structs.replace(connection, certificates={**connection.certificates, edge: certificate})
        writes.change(keys.resource(vpn_id), stored.mod_revision, changed)  # a simultaneous change of the edge conflicts
        return writes, (changed, made)

    return attempt(store, decide)


def tunnel_of(connection: VpnConnection, tunnel: int) -> Tunnel:
    """Return a tunnel of a connection. Raises ApiError: InvalidParameterValue."""
    if not 1 <= tunnel <= TUNNELS:
        raise invalid(f"VPN connection {connection.name}", f"{tunnel} is not one of its tunnels", f"choose 1 to {TUNNELS}")
    return connection.tunnels[tunnel - 1]


def with_tunnel(connection: VpnConnection, tunnel: int, wanted: Tunnel) -> VpnConnection:
    """Return a connection with one of its tunnels replaced."""
    tunnels = tuple(wanted if place == tunnel else known for place, known in enumerate(connection.tunnels, 1))
    return msgspec.structs.replace(connection, tunnels=tunnels)
