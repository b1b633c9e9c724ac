"""Tunnels in `netorch status`: which are down, and why."""

from __future__ import annotations

import pytest

from netorch.control.actions.private.connections import Wanted, create_vpn_connection
from netorch.control.actions.private.customers import create_customer_gateway
from netorch.control.views.health import Health, read_health
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.status import TunnelStatus, VpnStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.store.base import Delete, Put, Store

UP = TunnelStatus(ike="ESTABLISHED", child="INSTALLED", bgp="Established", accepted=2)


def say(store: Store, connection: VpnConnection, *tunnels: TunnelStatus) -> None:
    for number, (tunnel, status) in enumerate(zip(connection.tunnels, tunnels, strict=True), 1):
        key = keys.tunnel_status(tunnel.edge, connection.id)
        store.txn((), [Put(key, encode(VpnStatus(tunnels={number: status})))])


def about_tunnels(health: Health) -> list[str]:
    return [text for text in (*health.problems, *health.notes) if text.startswith("tunnel")]


@pytest.fixture
def by_bgp(store: Store, acme: Caller, gateway: VirtualPrivateGateway) -> VpnConnection:
    device = create_customer_gateway(store, acme, name="branch", address="203.0.113.2")
    return create_vpn_connection(store, acme, gateway.id, device.id, Wanted(name="branch"))[0]


def test_tunnels_that_are_up_are_no_problem_nor_are_those_of_which_nothing_is_known(
    store: Store, connection: VpnConnection
) -> None:
    assert about_tunnels(read_health(store, 0.0)) == []
    say(store, connection, UP, UP)
    assert about_tunnels(read_health(store, 0.0)) == []


def test_a_tunnel_that_is_down_is_a_problem_with_what_its_edge_knows(store: Store, by_bgp: VpnConnection) -> None:
    down = TunnelStatus(ike="CONNECTING", bgp="Active")
    edges = [tunnel.edge for tunnel in by_bgp.tunnels]
    say(store, by_bgp, down, TunnelStatus(ike="ESTABLISHED", child="INSTALLED", bgp="Active", bgp_reason="Connection refused"))
    first, second = about_tunnels(read_health(store, 0.0))
    where = "of VPN connection acme/web/branch at edge"
    fix = "netorch vpn doctor acme/web/branch"
    assert first == f"tunnel 1 {where} {edges[0]} is down: IKE is CONNECTING, and there is no ESP SA; {fix}"
    reason = "IPsec is up, but its BGP session is Active (Connection refused)"
    assert second == f"tunnel 2 {where} {edges[1]} is down: {reason}; {fix}"


def test_a_static_tunnel_without_bgp_is_up_and_one_without_a_secret_is_down(store: Store, connection: VpnConnection) -> None:
    carries = TunnelStatus(ike="ESTABLISHED", child="INSTALLED")
    say(store, connection, carries, carries)
    assert about_tunnels(read_health(store, 0.0)) == []
    store.txn((), [Delete(keys.secret(connection.tunnels[1].edge, connection.id))])
    (found,) = about_tunnels(read_health(store, 0.0))
    assert "tunnel 2" in found
    assert "its edge has no secret for it; netorch vpn rotate office --tunnel 2" in found
