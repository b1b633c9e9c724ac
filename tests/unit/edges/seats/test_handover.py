"""Gateways that keep state move between the edges of a pair with their connections, even if an agent dies."""

from __future__ import annotations

import msgspec
import pytest

from edges.readiness import active, ready
from netorch.agent.gateway_tables import GatewayTables
from netorch.agent.tasks.handover import ARRIVE_S, ASK_S, DRAIN_PATIENCE_S, PART, PATIENCE_S, PAUSE_S, REMEMBER_S, RETURN_S
from netorch.drivers.fake.tracker import FakeTracker
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.flows import HandedOver, HandoverWord
from netorch.state.flow import Flow
from netorch.store.rules import MAX_TXN_BYTES
from tests.rig.seats import nat_of, seat_egress_only, seat_nat
from tests.unit.edges.pair import EDGES, Pair
from tests.unit.edges.seats.test_standing import all_use, cut_off, is_active, pass_time, used
from tests.unit.edges.test_nat import INSIDE, PUBLIC, lead

TURN_S = 0.25


@pytest.fixture
def vpc(pair: Pair) -> Vpc:
    """A VPC with a NAT gateway whose first seat is e1, and a route of its main table to the gateway."""
    vpc, subnet = pair.vpc("a")
    seat_nat(pair.world.store, subnet, INSIDE, PUBLIC, EDGES)
    lead(pair, vpc, nat_of(vpc.vni))
    pass_time(pair, 3)
    return vpc


def connection(port: int, **more: object) -> Flow:
    """Return a connection of an instance to a server; the server sees the gateway's address."""
    flow = Flow(
        zone=0,
        protocol=6,
        source="10.0.0.4",
        destination="203.0.113.10",
        sport=port,
        dport=80,
        timeout_s=300,
        replied=True,
        assured=True,
        tcp_state=3,
        nat_source=INSIDE,
        nat_port=port,
    )
    return msgspec.structs.replace(flow, **more)


def tracker(pair: Pair, vpc: Vpc, edge: str) -> FakeTracker:
    found = pair.world.kernels[edge].trackers[nat_of(vpc.vni)]
    assert isinstance(found, FakeTracker)
    return found


def begin(pair: Pair, vpc: Vpc, edge: str, *flows: Flow) -> None:
    tracker(pair, vpc, edge).restore(flows)


def ports(pair: Pair, vpc: Vpc, edge: str) -> set[int]:
    return {flow.sport for flow in tracker(pair, vpc, edge).flows(0)}


def is_ready(pair: Pair, edge: str) -> bool:
    return ready(EDGES[edge]).key in pair.world.kernels[edge].objects


def drain(pair: Pair, edge: str) -> None:
    pair.world.put(keys.host_drained(edge), edge.encode())


def word(pair: Pair, edge: str) -> HandoverWord | None:
    found = pair.world.store.get(keys.handover_word(edge))
    return msgspec.json.decode(found.value, type=HandoverWord) if found is not None else None


def said(pair: Pair) -> list[str]:
    """Return the keys of the edges' remaining handover records."""
    return [kv.key for edge in EDGES for kv in pair.world.store.list(keys.handover_prefix(edge)).kvs]


def test_a_drained_edge_hands_over_its_connections_before_anybody_leaves_it(pair: Pair, vpc: Vpc) -> None:
    flows = [connection(port) for port in range(1, PART + 2)]
    begin(pair, vpc, "e1", *flows, connection(7, dport=443, tcp_state=7))
    begin(pair, vpc, "e2", connection(9, dport=8080))  # left over from earlier
    drain(pair, "e1")
    while used(pair, vpc, "hv1") == "e1":
        assert is_ready(pair, "e1")
        pass_time(pair, TURN_S)
    assert ports(pair, vpc, "e2") == {flow.sport for flow in flows}
    assert set(tracker(pair, vpc, "e2").flows(0)) == set(flows)
    assert tracker(pair, vpc, "e1").handed_zones == {0}
    assert tracker(pair, vpc, "e2").handed_zones == frozenset()
    pass_time(pair, 3)
    assert all_use(pair, vpc) == "e2"
    assert not is_ready(pair, "e1")
    assert said(pair) == []
    pair.world.assert_settled()


@pytest.mark.parametrize(
    "ends",
    [
        {"source": "10.100.200.105", "destination": "203.0.113.210"},
        {
            "source": "2001:db8:1111:2222:3333:4444:5555:6666",
            "destination": "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
            "nat_source": "",
            "nat_port": 0,
        },
    ],
    ids=["ipv4", "ipv6"],
)
def test_more_connections_are_handed_over_than_a_transaction_of_the_store_takes(
    pair: Pair, vpc: Vpc, ends: dict[str, object]
) -> None:
    flows = [connection(port, **ends) for port in range(20000, 20000 + 7 * PART + 1)]
    assert len(encode(HandedOver(flows=tuple(flows)))) > MAX_TXN_BYTES
    begin(pair, vpc, "e1", *flows)
    drain(pair, "e1")
    pass_time(pair, 4)
    assert all_use(pair, vpc) == "e2"
    assert ports(pair, vpc, "e2") == {flow.sport for flow in flows}
    assert said(pair) == []


def test_an_edge_that_is_back_asks_for_its_gateways_after_a_while_and_gets_them_with_their_connections(
    pair: Pair, vpc: Vpc
) -> None:
    drain(pair, "e1")
    pass_time(pair, 5)
    begin(pair, vpc, "e2", connection(5))
    pair.world.delete(keys.host_drained("e1"))
    pass_time(pair, RETURN_S - 2)
    assert all_use(pair, vpc) == "e2"
    assert said(pair) == []
    pass_time(pair, 5)
    assert all_use(pair, vpc) == "e1"
    assert ports(pair, vpc, "e1") == {5}
    assert is_active(pair, "e1")
    assert is_active(pair, "e2")
    assert said(pair) == []


def test_an_edge_that_had_failed_gets_its_gateways_back_likewise_but_not_while_it_comes_and_goes(pair: Pair, vpc: Vpc) -> None:
    for _ in range(3):
        with cut_off(pair, "e1"):
            pass_time(pair, 3)
        pass_time(pair, RETURN_S - 5)
        assert all_use(pair, vpc) == "e2"
    begin(pair, vpc, "e2", connection(5))
    pass_time(pair, 10)
    assert all_use(pair, vpc) == "e1"
    assert ports(pair, vpc, "e1") == {5}


def test_an_edge_that_works_alone_hands_over_all_it_has(pair: Pair, vpc: Vpc) -> None:
    """The other edge is on standby, and becomes active once it has taken everything."""
    with cut_off(pair, "e2"):
        pass_time(pair, 3)
    pass_time(pair, 3)
    assert not is_active(pair, "e2")
    begin(pair, vpc, "e1", connection(5))
    drain(pair, "e1")
    pass_time(pair, 4)
    assert all_use(pair, vpc) == "e2"
    assert ports(pair, vpc, "e2") == {5}
    assert not is_ready(pair, "e1")


def test_while_the_store_is_away_nothing_returns(pair: Pair, vpc: Vpc) -> None:
    with cut_off(pair, "e1"):
        pass_time(pair, 3)
    for host in EDGES:
        pair.world.wires[host].cut = True
    pass_time(pair, 3 * RETURN_S)
    assert all_use(pair, vpc) == "e2"
    for host in EDGES:
        pair.world.wires[host].cut = False
    pass_time(pair, 3 * RETURN_S)
    assert all_use(pair, vpc) == "e1"


def test_a_giver_that_is_killed_begins_again(pair: Pair, vpc: Vpc) -> None:
    begin(pair, vpc, "e1", connection(5))
    drain(pair, "e1")
    pass_time(pair, TURN_S / 2, "e1")  # it has announced the gateways that it gives
    assert word(pair, "e1") is not None
    pair.world.kill("e1")
    pass_time(pair, 2)
    assert ports(pair, vpc, "e2") == {5}
    assert used(pair, vpc, "hv1") == "e1"  # its kernel still forwards
    begin(pair, vpc, "e1", connection(6))
    pair.world.start("e1")
    pass_time(pair, 5)
    assert all_use(pair, vpc) == "e2"
    assert ports(pair, vpc, "e2") == {5, 6}
    assert not is_ready(pair, "e1")
    assert said(pair) == []


def test_a_taker_that_is_killed_is_not_waited_for(pair: Pair, vpc: Vpc) -> None:
    begin(pair, vpc, "e1", connection(5))
    pair.world.kill("e2")
    drain(pair, "e1")
    pass_time(pair, DRAIN_PATIENCE_S - 1)
    assert used(pair, vpc, "hv1") == "e1"
    assert is_ready(pair, "e1")
    pass_time(pair, 4)
    assert used(pair, vpc, "hv1") == "e2"
    assert not is_ready(pair, "e1")
    pair.world.start("e2")
    pass_time(pair, 3)
    assert all_use(pair, vpc) == "e2"
    assert said(pair) == []


def test_a_taker_that_is_killed_and_restarted_in_time_takes_everything(pair: Pair, vpc: Vpc) -> None:
    begin(pair, vpc, "e1", connection(5))
    pair.world.kill("e2")
    drain(pair, "e1")
    pass_time(pair, 2)
    pair.world.start("e2")
    pass_time(pair, 6)
    assert all_use(pair, vpc) == "e2"
    assert ports(pair, vpc, "e2") == {5}


def test_an_edge_whose_asking_is_outdated_makes_others_refuse_connections_for_some_seconds_only(pair: Pair, vpc: Vpc) -> None:
    """e1 died just after it had asked."""
    with cut_off(pair, "e1"):
        pass_time(pair, 3)
    pass_time(pair, 3)
    pair.world.kill("e1")
    pair.world.put(keys.handover_word("e1"), encode(HandoverWord(asks="e2")))
    pass_time(pair, 1)
    given = word(pair, "e2")
    assert given is not None
    assert given.gives == "e1"
    pass_time(pair, PATIENCE_S + 1)
    assert word(pair, "e2") is None
    given_up = tracker(pair, vpc, "e2")
    given_up.handed_zones = frozenset()  # as its elements expire
    pass_time(pair, 3 * PATIENCE_S)
    assert given_up.handed_zones == frozenset()
    assert used(pair, vpc, "hv1") == "e2"


def test_a_vpc_over_its_allowance_and_a_gateway_that_is_handed_over_begin_no_connection_each_for_its_own_reason(
    pair: Pair, vpc: Vpc
) -> None:
    given, taken = tracker(pair, vpc, "e1"), tracker(pair, vpc, "e2")
    taken.refuse({0})
    drain(pair, "e1")
    pass_time(pair, TURN_S, "e1")
    assert given.handed_zones == {0}
    assert given.refused_zones == frozenset()
    tables = GatewayTables({nat_of(vpc.vni): given})
    tables.refuse({vpc.vni})
    tables.refuse({vpc.vni + 1})  # the first VPC is no longer refused
    assert given.handed_zones == {0}
    assert given.refused_zones == frozenset()
    pass_time(pair, TURN_S, "e2")
    assert ports(pair, vpc, "e2") == set()
    assert word(pair, "e2") is not None
    assert taken.refused_zones == {0}


def test_a_taker_holds_no_more_of_a_vpc_than_its_share(pair: Pair, vpc: Vpc) -> None:
    other, subnet = pair.vpc("b", "10.9.0.0/16")
    seat_nat(pair.world.store, subnet, "10.9.0.200", "198.51.100.9", EDGES)
    pass_time(pair, 3)
    begin(pair, vpc, "e1", *(connection(port, assured=port % 2 == 0) for port in range(1, 81)))
    begin(pair, other, "e1", *(connection(port, nat_source="10.9.0.200") for port in range(1, 21)))
    for found in (vpc, other):
        tracker(pair, found, "e2").most = 100
    drain(pair, "e1")
    pass_time(pair, 4)
    assert used(pair, vpc, "e2") == "e2"
    assert ports(pair, vpc, "e2") == set(range(2, 81, 2))
    assert ports(pair, other, "e2") == set(range(1, 21))
    assert tracker(pair, vpc, "e2").refused_zones == frozenset()


def test_a_gateway_without_a_namespace_holds_up_no_other(pair: Pair, vpc: Vpc) -> None:
    """An egress-only gateway of a VPC without a pool's range has no namespace."""
    seat_egress_only(pair.world.store, pair.vpc("b", "10.9.0.0/16")[0].vni, EDGES)
    pass_time(pair, 3)
    begin(pair, vpc, "e1", connection(5))
    drain(pair, "e1")
    pass_time(pair, 4)
    assert all_use(pair, vpc) == "e2"
    assert ports(pair, vpc, "e2") == {5}
    assert not is_ready(pair, "e1")
    pair.world.delete(keys.host_drained("e1"))
    pass_time(pair, RETURN_S + 5)
    assert all_use(pair, vpc) == "e1"
    assert ports(pair, vpc, "e1") == {5}


def test_a_gateway_at_one_edge_only_holds_up_no_other(pair: Pair, vpc: Vpc) -> None:
    _, subnet = pair.vpc("b", "10.9.0.0/16")
    seat_nat(pair.world.store, subnet, "10.9.0.200", "198.51.100.9", {"e1": EDGES["e1"]})
    pass_time(pair, 3)
    begin(pair, vpc, "e1", connection(5))
    drain(pair, "e1")
    pass_time(pair, 4)
    assert used(pair, vpc, "e2") == "e2"
    assert ports(pair, vpc, "e2") == {5}
    assert not is_ready(pair, "e1")


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "uncompilable"])
def test_a_taker_goes_on_without_a_gateway_that_it_does_not_have(pair: Pair, vpc: Vpc, *, gone: bool) -> None:
    other, subnet = pair.vpc("b", "10.9.0.0/16")
    seat_nat(pair.world.store, subnet, "10.9.0.200", "198.51.100.9", EDGES)
    pass_time(pair, 3)
    begin(pair, vpc, "e1", connection(5))
    pair.world.kill("e2")
    drain(pair, "e1")
    pass_time(pair, TURN_S)
    given = word(pair, "e1")
    assert given is not None
    assert {*given.gateways} == {nat_of(vpc.vni), nat_of(other.vni)}
    if gone:
        pair.world.delete(keys.gateway_mapping(other.vni, nat_of(other.vni)))
    else:
        pair.world.put(keys.resource(subnet.id), b"{")
        pair.boot("e2")
    pair.world.start("e2")
    pass_time(pair, ARRIVE_S + 3)
    assert used(pair, vpc, "e2") == "e2"
    assert ports(pair, vpc, "e2") == {5}
    assert not is_ready(pair, "e1")


def test_an_edge_that_asks_in_vain_asks_ever_later(pair: Pair, vpc: Vpc) -> None:
    with cut_off(pair, "e1"):
        pass_time(pair, 3)
    assert used(pair, vpc, "hv1") == "e2"
    pair.world.kill("e2")  # its kernel still forwards
    begun = []
    for second in range(round(RETURN_S + 2 * ASK_S + 3 * PAUSE_S) + 10):
        asked = word(pair, "e1") is not None
        pass_time(pair, 1, "e1")
        if word(pair, "e1") is not None and not asked:
            begun.append(second)
    first, second, third = begun
    assert first == pytest.approx(RETURN_S, abs=3)
    assert second - first == pytest.approx(ASK_S + PAUSE_S, abs=2)
    assert third - second == pytest.approx(ASK_S + 2 * PAUSE_S, abs=2)
    assert word(pair, "e1") == HandoverWord(asks="e2")
    pair.world.start("e2")
    pass_time(pair, 5)
    assert all_use(pair, vpc) == "e1"


def test_an_edge_takes_only_what_is_the_gateways_own(pair: Pair, vpc: Vpc) -> None:
    other, _ = pair.vpc("b", "10.9.0.0/16")
    pass_time(pair, 3)
    pair.world.kill("e1")
    others = {"nat_source": "10.0.0.99"}, {"nat_destination": "10.0.0.4", "nat_dport": 22}, {"original_zone": 1}
    flows = (connection(5), *(connection(6, **other) for other in others), connection(7, zone=3, mark=3))
    pair.world.put(keys.handover_flows("e1", nat_of(vpc.vni), 0), encode(HandedOver(flows=flows)))
    for gateway, answer in ((nat_of(other.vni), None), (nat_of(vpc.vni), HandoverWord(took="t"))):
        gives = HandoverWord(gives="e2", token="t", gateways=(gateway,), parts=1)
        pair.world.put(keys.handover_word("e1"), encode(gives))
        pass_time(pair, 1, "e2")
        assert word(pair, "e2") == answer
    assert {(flow.sport, flow.zone, flow.mark) for flow in tracker(pair, vpc, "e2").flows(0)} == {(5, 0, 0), (7, 0, 0)}


@pytest.mark.parametrize("damaged", [b"{", b"\xff", b'{"schema":99,"flows":[]}'], ids=["torn", "no text", "newer"])
def test_a_record_that_cannot_be_read_loses_its_own_connections_only(pair: Pair, vpc: Vpc, damaged: bytes) -> None:
    begin(pair, vpc, "e1", *(connection(port) for port in range(1, PART + 2)))
    drain(pair, "e1")
    pass_time(pair, TURN_S / 2, "e1")
    pair.world.put(key := said(pair)[0], damaged)
    pass_time(pair, 4)
    assert (all_use(pair, vpc), len(ports(pair, vpc, "e2")), said(pair)) == ("e2", 1, [])
    status = pair.world.agents["e2"].status
    begun = f"1 of 2 records of connections that e1 handed over are unreadable, so these connections are lost: {key}"
    assert status.of_agent().trouble.startswith(begun)
    pass_time(pair, REMEMBER_S, "e2")
    assert status.of_agent().trouble == ""


def test_a_drained_edge_without_gateways_in_use_leaves_at_once(pair: Pair, vpc: Vpc) -> None:
    assert used(pair, vpc, "e2") == "e1"
    drain(pair, "e2")
    pass_time(pair, 2 * TURN_S)
    assert not is_ready(pair, "e2")
    assert said(pair) == []
    assert active(EDGES["e1"]).key in pair.world.kernels["e1"].objects
