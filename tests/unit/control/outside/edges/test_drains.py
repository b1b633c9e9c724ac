"""Draining edges, and the reasons to refuse it."""

from __future__ import annotations

import pytest

from netorch.control.actions import hosts
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.model.eni import Host, Role
from netorch.model.outside.gateway import InternetGateway
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.hosts import HostState, read_loaded
from netorch.records.inventory import read_inventory
from netorch.store.base import Delete, Store
from tests.rig.seats import let_run
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import MakeEdge, clean


@pytest.fixture
def living(store: Store, west: list[Host]) -> list[Host]:
    """A pair of edges with running agents."""
    let_run(store, *(edge.name for edge in west))
    return west


def drained(store: Store) -> dict[str, bool]:
    """Return which hosts are drained, and check that both ways to read it agree."""
    found = {name: state.drained for name, state in read_inventory(store).hosts.items()}
    assert found == {name: state.drained for name, state in read_inventory(store).hosts.items()}
    return found


def test_one_edge_of_a_pair_is_drained_and_carries_its_gateways_still(
    store: Store, operator: Caller, living: list[Host], gateway: InternetGateway
) -> None:
    del gateway
    for _ in range(2):
        drain_host(store, operator, "e1")
        assert drained(store) == {"e1": True, "e2": False}
    assert hosts.describe_host(store, operator, "e1").gateways == 1
    clean(store)
    for _ in range(2):
        undrain_host(store, operator, "e1")
        assert drained(store) == {"e1": False, "e2": False}


def test_an_edge_is_not_drained_while_the_other_one_cannot_take_over(
    store: Store, operator: Caller, living: list[Host], make_edge: MakeEdge
) -> None:
    drain_host(store, operator, "e1")
    with refused("IncorrectState", "e1, the other edge of its pair, is drained; netorch host undrain e1"):
        drain_host(store, operator, "e2")
    undrain_host(store, operator, "e1")
    store.txn([], [Delete(keys.host_live("e1"))])
    with refused("IncorrectState", "the agent of e1, the other edge of its pair, is not running"):
        drain_host(store, operator, "e2")
    let_run(store, "e1", not_ready="it has no BGP session with 198.18.0.254")
    with refused("IncorrectState", "e1, the other edge of its pair, is not ready: it has no BGP session with 198.18.0.254"):
        drain_host(store, operator, "e2")
    store.txn([], [Delete(keys.agent_status("e1"))])
    with refused("IncorrectState", "e1, the other edge of its pair, is not ready: its agent has not reported ready yet"):
        drain_host(store, operator, "e2")
    make_edge("e3", 23, "east")
    with refused("IncorrectState", "is the only edge of pair east"):
        drain_host(store, operator, "e3")
    assert drained(store) == {"e1": False, "e2": False, "e3": False}


def test_an_edge_without_a_pair_is_not_drained(store: Store, operator: Caller) -> None:
    hosts.create_host(store, operator, name="alone", underlay="192.0.2.99", role=Role.EDGE)
    with refused("InvalidParameterValue", "is an edge without a pair"):
        drain_host(store, operator, "alone")
    for action in (drain_host, undrain_host):
        with refused("InvalidHostID.NotFound", "nobody"):
            action(store, operator, "nobody")


def test_a_new_host_is_not_drained_because_one_of_its_name_was(store: Store, operator: Caller, living: list[Host]) -> None:
    drain_host(store, operator, "e1")
    hosts.delete_host(store, operator, "e1")
    hosts.create_host(store, operator, name="e1", underlay="192.0.2.21", role=Role.EDGE)
    assert not drained(store)["e1"]


def test_of_two_edges_that_are_drained_at_the_same_time_one_stays(
    store: Store, operator: Caller, living: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer drains the other edge between the read and the transaction."""
    name_of_read = "netorch.control.actions.outside.drains.read_loaded"

    def late(store: Store, name: str) -> HostState:
        state = read_loaded(store, name)
        monkeypatch.setattr(name_of_read, read_loaded)
        drain_host(store, operator, name)
        return state

    monkeypatch.setattr(name_of_read, late)
    with refused("IncorrectState", "e2, the other edge of its pair, is drained"):
        drain_host(store, operator, "e1")
    assert drained(store) == {"e1": False, "e2": True}
