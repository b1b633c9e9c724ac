"""Changes of edges, and of their pairs: customers' packets reach no edge while it changes."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import hosts
from netorch.control.actions.instances import Placed
from netorch.control.actions.outside import departures, gateways, pools
from netorch.control.actions.outside.drains import drain_host, undrain_host
from netorch.control.actions.outside.edges import update_edge
from netorch.control.actions.vpcs import create_vpc
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.base.edge_users import users_of
from netorch.model.cloud import Cloud, HostDecl
from netorch.model.eni import Host, Role, Uplink
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.gateway import InternetGateway
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.store.base import Delete, Put, Store
from tests.rig.seats import let_run
from tests.unit.control.conftest import refused
from tests.unit.control.outside.conftest import MakeEdge, clean

NEW = "bond0.100,198.18.5.21/24,198.18.5.254"
UPLINK = Uplink(device="bond0.100", address="198.18.5.21/24", gateway="198.18.5.254", asn=64601, gateway_asn=64512)


@pytest.fixture
def living(store: Store, west: list[Host], gateway: InternetGateway) -> InternetGateway:
    """A gateway on a pair of edges with running agents."""
    let_run(store, *(edge.name for edge in west))
    return gateway


def seats(store: Store) -> set[tuple[str, ...]]:
    """Return the edges of gateways, and check that placements agree."""
    inventory = read_inventory(store)
    found = [mapping for records in inventory.vpcs.values() for mapping in records.each(GatewayMapping)]
    placed = {kv.key for kv in store.list("host/").kvs if "/placement/" in kv.key and "/igw-" in kv.key}
    assert placed == {keys.placement(seat.host, mapping.gateway) for mapping in found for seat in mapping.seats}
    clean(store)
    return {tuple(seat.host for seat in mapping.seats) for mapping in found}


def say(store: Store, host: str, *silent: str) -> None:
    """Write the status of a host's agent, with the edges that the agent reports as silent."""
    store.txn([], [Put(keys.agent_status(host), encode(AgentStatus(version="1", pid=1, started_at=0.0, silent=silent)))])


def test_an_edge_is_changed_once_it_is_drained_and_stays_so(store: Store, operator: Caller, living: InternetGateway) -> None:
    with refused("IncorrectState", "and receives their packets; changing its uplink"):
        update_edge(store, operator, "e1", uplink=NEW)
    left(store, operator)
    changed = update_edge(store, operator, "e1", uplink=NEW, asn=64601, gateway_asn=64512)
    assert changed.uplink == UPLINK
    assert hosts.describe_host(store, operator, "e1").host == changed
    assert read_inventory(store).hosts["e1"].drained
    assert update_edge(store, operator, "e1", asn=0, gateway_asn=0).uplink == msgspec.structs.replace(
        UPLINK, asn=0, gateway_asn=0
    )
    assert len(seats(store).pop()) == 2
    undrain_host(store, operator, "e1")


def test_an_edge_that_carries_nothing_is_changed_as_it_is(store: Store, operator: Caller, west: list[Host]) -> None:
    assert update_edge(store, operator, "e1", asn=64601, gateway_asn=64512).uplink != west[0].uplink
    before = store.revision()
    update_edge(store, operator, "e1", asn=64601)
    assert store.revision() == before, "nothing is to be changed"
    assert not read_inventory(store).hosts["e1"].drained


def test_what_no_edge_can_have_is_refused_and_leaves_no_trace(
    store: Store, operator: Caller, living: InternetGateway, two_hosts: None
) -> None:
    drain_host(store, operator, "e1")
    pools.create_pool(store, operator, name="p", pair="west", cidrs=["198.51.100.0/28"])
    before = [kv for kv in store.list("").kvs if not kv.key.startswith("alloc/ranges")]
    with refused("InvalidParameterValue", "its role is hypervisor"):
        update_edge(store, operator, "hv1", uplink=NEW)
    with refused("InvalidHostID.NotFound", "nobody"):
        update_edge(store, operator, "nobody", uplink=NEW)
    with refused("InvalidParameterValue", "is not an uplink"):
        update_edge(store, operator, "e1", uplink="eth9")
    with refused("InvalidParameterValue", "the same AS number"):
        update_edge(store, operator, "e1", asn=64512, gateway_asn=64512)
    with refused("InvalidParameterCombination", "has no pair"):
        update_edge(store, operator, "e1", pair="")
    with refused("InvalidParameterValue", "overlaps 198.51.100.0/28 of address pool p"):
        update_edge(store, operator, "e1", uplink="eth2,198.51.100.5/24,198.51.100.254")
    assert [kv for kv in store.list("").kvs if not kv.key.startswith("alloc/ranges")] == before


def test_hosts_that_may_still_send_to_an_edge_keep_it_from_being_changed(
    store: Store, operator: Caller, living: InternetGateway, placed: Placed
) -> None:
    host, vtep = where(store, placed), "192.0.2.21"
    assert users_of(read_inventory(store), "e1") == ("e2",), "the agent of the instance's host has never run"
    say(store, host)
    drain_host(store, operator, "e1")
    with refused("IncorrectState", f"is drained, and e2, {host} may still send to it"):
        update_edge(store, operator, "e1", uplink=NEW)
    with refused("IncorrectState", f"is drained, and e2, {host} may still send to it"):
        hosts.delete_host(store, operator, "e1")
    say(store, host, vtep)
    say(store, "e2", vtep)
    assert users_of(read_inventory(store), "e1") == ()
    update_edge(store, operator, "e1", uplink=NEW)


def where(store: Store, placed: Placed) -> str:
    """Return the host of an instance."""
    return next(
        name for name, state in read_inventory(store).hosts.items() if state.placements and name.startswith("hv") and placed
    )


def left(store: Store, operator: Caller) -> None:
    """Drain e1, and let its partner report that e1 is silent."""
    drain_host(store, operator, "e1")
    say(store, "e2", "192.0.2.21")


def test_a_drained_edge_is_deleted_and_its_partner_carries_everything(
    store: Store, operator: Caller, living: InternetGateway, make_edge: MakeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "SEATS", 2)
    for name in ("a", "b", "c", "d"):
        gateways.create_internet_gateway(store, operator, create_vpc(store, operator, name=name, cidrs=["10.0.0.0/16"]).id)
    with refused("DependencyViolation", "drain it first, so that its partner takes over"):
        hosts.delete_host(store, operator, "e1")
    left(store, operator)
    hosts.delete_host(store, operator, "e1")
    assert seats(store) == {("e2",)}
    with refused("InvalidHostID.NotFound"):
        hosts.describe_host(store, operator, "e1")
    make_edge("e3", 23)
    assert seats(store) == {("e2", "e3")}
    assert not read_inventory(store).hosts["e3"].drained


def test_an_edge_whose_partner_could_not_take_over_is_not_deleted(
    store: Store, operator: Caller, living: InternetGateway
) -> None:
    left(store, operator)
    store.txn([], [Delete(keys.host_live("e2"))])
    with refused("IncorrectState", "the agent of e2, the other edge of its pair, is not running"):
        hosts.delete_host(store, operator, "e1")
    let_run(store, "e2")
    said = AgentStatus(version="1", pid=1, started_at=0.0, silent=("192.0.2.21",), not_ready="no session")
    store.txn([], [Put(keys.agent_status("e2"), encode(said))])
    with refused("IncorrectState", "e2, the other edge of its pair, is not ready: no session"):
        hosts.delete_host(store, operator, "e1")
    assert {len(edges) for edges in seats(store)} == {2}
    assert store.get(keys.host_drain("e1")) is None
    say(store, "e2", "192.0.2.21")
    hosts.delete_host(store, operator, "e1")


def test_the_last_edge_of_a_pair_with_gateways_is_not_deleted(store: Store, operator: Caller, living: InternetGateway) -> None:
    left(store, operator)
    hosts.delete_host(store, operator, "e1")
    with refused("DependencyViolation", "drain it first"):
        hosts.delete_host(store, operator, "e2")


def test_an_edge_changes_to_another_pair_and_carries_what_is_there(
    store: Store, operator: Caller, acme: Caller, living: InternetGateway, make_edge: MakeEdge
) -> None:
    make_edge("e9", 29, "east")
    pools.create_pool(store, operator, name="p", pair="east", cidrs=["203.0.113.0/28"])
    let_run(store, "e9")
    store.txn([], [Delete(keys.host_live("e1")), Delete(keys.host_live("e2"))])
    vpc = create_vpc(store, acme, name="other", cidrs=["10.0.0.0/16"])
    gateways.create_internet_gateway(store, acme, vpc.id)
    assert seats(store) == {("e1", "e2"), ("e9",)} or seats(store) == {("e2", "e1"), ("e9",)}
    let_run(store, "e1", "e2")
    left(store, operator)
    update_edge(store, operator, "e1", pair="east")
    assert seats(store) == {("e2",), ("e9", "e1")}
    assert not read_inventory(store).hosts["e1"].drained
    make_edge("e3", 23)
    assert seats(store) == {("e2", "e3"), ("e9", "e1")}
    let_run(store, "e1", "e9")
    drain_host(store, operator, "e1")
    say(store, "e9", "192.0.2.21")
    with refused("InvalidParameterValue", "pair west has two edges"):
        update_edge(store, operator, "e1", pair="west")


def test_an_edge_without_a_pair_gets_one(store: Store, operator: Caller, living: InternetGateway) -> None:
    left(store, operator)
    hosts.delete_host(store, operator, "e1")
    hosts.create_host(store, operator, name="bare", underlay="192.0.2.31", role=Role.EDGE)
    with refused("InvalidParameterCombination", "has no uplink"):
        update_edge(store, operator, "bare", pair="west")
    update_edge(store, operator, "bare", pair="west", uplink=NEW)
    let_run(store, "bare")
    assert seats(store) == {("e2", "bare")}


def declare(store: Store, operator: Caller, **changed: object) -> list[str]:
    """Apply a file with e1; return the differences that the plan shows."""
    uplink = Uplink(device="eth2", address="198.18.0.21/24", gateway="198.18.0.254")
    decl = HostDecl(name="e1", underlay="192.0.2.21", role=Role.EDGE, pair="west", uplink=uplink)
    plan = plan_cloud(store, operator, Cloud(hosts=[msgspec.structs.replace(decl, **changed)]))
    apply_cloud(store, plan)
    return [f"{found.field}: {found.before} -> {found.after}" for change in plan.changes for found in change.differences]


def test_a_file_changes_the_uplink_of_a_drained_edge_and_the_plan_shows_it(
    store: Store, operator: Caller, living: InternetGateway
) -> None:
    assert declare(store, operator) == []
    with refused("IncorrectState", "whose packets use eth2"):
        declare(store, operator, uplink=UPLINK)
    left(store, operator)
    assert declare(store, operator, uplink=UPLINK) == [
        f"uplink: eth2,198.18.0.21/24,198.18.0.254 -> {NEW} (AS 64601, gateway AS 64512)"
    ]
    assert declare(store, operator, uplink=UPLINK) == []
    with refused("InvalidParameterValue", "which a file cannot change; netorch host update e1 --pair PAIR"):
        declare(store, operator, uplink=UPLINK, pair="east")
