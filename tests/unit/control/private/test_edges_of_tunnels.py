"""Tunnels when an edge leaves or joins a pair, or changes its address."""

from __future__ import annotations

import pytest

from netorch.control.actions import hosts
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.actions.outside.edges import update_edge
from netorch.control.actions.private.changes import rotate_secret
from netorch.control.views.vpn import describe_vpn_connection
from netorch.model.eni import Host
from netorch.model.mapping import Reach
from netorch.model.outside.vpn import VpnConnection
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.read import read
from netorch.store.base import Put, Store
from tests.rig.seats import let_run
from tests.unit.control.private.conftest import MakeEdge, clean
from tests.unit.sealing import opened

NEW = "bond0.100,198.18.5.21/24,198.18.5.254"


@pytest.fixture
def living(store: Store, west: list[Host], connection: VpnConnection) -> VpnConnection:
    """A connection on a pair of edges with running agents."""
    let_run(store, *(edge.name for edge in west))
    return connection


def left(store: Store, operator: Caller) -> None:
    """Drain e1, and let its partner report that e1 is silent."""
    drain_host(store, operator, "e1")
    said = AgentStatus(version="1", pid=1, started_at=0.0, silent=("192.0.2.21",))
    store.txn([], [Put(keys.agent_status("e2"), encode(said))])


def ends(store: Store, caller: Caller, connection: VpnConnection) -> dict[str, str]:
    """Return the addresses of a connection's tunnels by edge."""
    return {tunnel.edge: tunnel.address for tunnel in read(store, caller, VpnConnection, connection.id)[1].record.tunnels}


def test_an_edge_that_goes_leaves_its_tunnel_without_a_secret(
    store: Store, operator: Caller, acme: Caller, living: VpnConnection, make_edge: MakeEdge
) -> None:
    place = next(place for place, tunnel in enumerate(living.tunnels, 1) if tunnel.edge == "e1")
    reach = Reach(vni=living.vni, gateway=living.gateway, edge="e1")
    store.txn((), [Put(keys.reach(living.vni, living.gateway, "e1"), encode(reach))])
    left(store, operator)
    hosts.delete_host(store, operator, "e1")
    assert ends(store, acme, living) == {"": "", "e2": "198.18.0.22"}
    assert store.get(keys.secret("e1", living.id)) is None
    assert store.get(keys.reach(living.vni, living.gateway, "e1")) is None
    clean(store)
    make_edge("e3", 23)
    assert ends(store, acme, living) == {"e2": "198.18.0.22", "e3": "198.18.0.23"}
    info = describe_vpn_connection(store, acme, living.id).tunnels[place - 1]
    assert (info.tunnel.edge, info.has_secret) == ("e3", False)
    assert info.message == f"its edge has no secret for it; netorch vpn rotate office --tunnel {place}"
    _, made = rotate_secret(store, acme, living.id, place)
    assert made is not None
    assert opened(store, "e3", living.id) == {place: made}
    clean(store)


def test_an_edge_with_another_uplink_has_its_tunnels_there(
    store: Store, operator: Caller, acme: Caller, living: VpnConnection
) -> None:
    before = opened(store, "e1", living.id)
    left(store, operator)
    update_edge(store, operator, "e1", uplink=NEW)
    assert ends(store, acme, living) == {"e1": "198.18.5.21", "e2": "198.18.0.22"}
    assert opened(store, "e1", living.id) == before
    undrain_host(store, operator, "e1")
    clean(store)


def test_an_edge_that_is_drained_keeps_its_tunnels(store: Store, operator: Caller, acme: Caller, living: VpnConnection) -> None:
    drain_host(store, operator, "e1")
    undrain_host(store, operator, "e1")
    assert ends(store, acme, living) == {"e1": "198.18.0.21", "e2": "198.18.0.22"}


def test_an_edge_that_joins_another_pair_takes_nothing_along(
    store: Store, operator: Caller, acme: Caller, living: VpnConnection
) -> None:
    left(store, operator)
    update_edge(store, operator, "e1", pair="north", uplink=NEW)
    assert ends(store, acme, living) == {"": "", "e2": "198.18.0.22"}
    assert store.get(keys.secret("e1", living.id)) is None
    clean(store)
