"""Internet gateways, from records to the kernels of edges: the objects of each record, the cost of changes, and omissions."""

from __future__ import annotations

import errno
from collections import Counter

import msgspec
import pytest

from edges.internet import Internet, _left_out
from netorch.compiler.base import Gateway, HostView, VpcView
from netorch.control.actions import peerings
from netorch.model.eni import Host, Role
from netorch.model.mapping import Seat
from netorch.model.outside.public import AddressPool
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import Route
from netorch.state.link import CableEnd, Vrf, Vxlan
from netorch.state.names import outside_cable
from netorch.state.op import Create, Delete
from netorch.state.tc import EGRESS, INGRESS, IPV6, Drop, Match, Nat, OtherPriority, Pass, Redirect, TcFilter
from tests.unit.edges.pair import EDGES, POOL, UPLINK, Pair, gateway_of
from tests.views import make_view, vpc_objects

FIRST, SECOND, THIRD = "198.51.100.5", "198.51.100.6", "198.51.100.7"
A, B = "10.0.0.4", "10.0.0.5"
RANGE6, POOL6 = "2001:db8:5::/56", "2001:db8::/32"


def objects(pair: Pair, edge: str, vpc: Vpc) -> list[KernelObject]:
    """Return an edge's kernel objects of a VPC."""
    return [obj for obj in pair.world.kernels[edge].objects.values() if obj.vni == vpc.vni]


def lines(pair: Pair, edge: str, vpc: Vpc, kind: type[KernelObject]) -> set[str]:
    """Return the texts of the objects of one kind."""
    return {obj.text() for obj in objects(pair, edge, vpc) if isinstance(obj, kind)}


def nats(pair: Pair, edge: str, vpc: Vpc) -> set[str]:
    """Return the address translations on an edge."""
    filters = (obj for obj in objects(pair, edge, vpc) if isinstance(obj, TcFilter))
    return {f"{each.hook} {action.old} {action.new}" for each in filters for action in each.actions if isinstance(action, Nat)}


def ways(pair: Pair, edge: str, vpc: Vpc) -> set[str]:
    """Return the destinations of the routes to a VPC in the namespace `outside`."""
    return {obj.dst for obj in objects(pair, edge, vpc) if isinstance(obj, Route) and obj.netns == OUTSIDE}


def test_a_seated_gateway_is_a_cable_between_the_vpcs_first_vrf_and_the_outside(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(3)
    near, far = outside_cable(vpc.vni, gateway_of(vpc.vni))
    for edge in ("e1", "e2"):
        ends = {obj.ifname: obj for obj in objects(pair, edge, vpc) if isinstance(obj, CableEnd)}
        assert set(ends) == {near, far}
        assert (ends[near].vrf, ends[near].netns, ends[near].peer_netns) == (f"vrf{vpc.vni}", "overlay", OUTSIDE)
        assert (ends[far].vrf, ends[far].netns, ends[far].lladdr) == ("", OUTSIDE, gateway_mac(gateway_of(vpc.vni)))
        vxlan = next(obj for obj in objects(pair, edge, vpc) if isinstance(obj, Vxlan))
        assert {ends[near].mtu, ends[far].mtu} == {vxlan.mtu}
    assert not [obj for obj in objects(pair, "hv1", vpc) if isinstance(obj, CableEnd)]
    pair.world.assert_settled()


def test_nothing_passes_before_an_address_is_associated(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(3)
    near, _ = outside_cable(vpc.vni, gateway_of(vpc.vni))
    on_cable = [obj for obj in objects(pair, "e1", vpc) if isinstance(obj, TcFilter) and obj.ifname == near]
    assert {(each.hook, each.actions) for each in on_cable} == {(INGRESS, (Drop(),)), (EGRESS, (Drop(),))}
    assert ways(pair, "e1", vpc) == set()


def test_only_verified_packets_to_the_gateway_leave_by_the_cable(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(3)
    near, _ = outside_cable(vpc.vni, gateway_of(vpc.vni))
    on_vxlan = [obj for obj in objects(pair, "e1", vpc) if isinstance(obj, TcFilter) and obj.ifname == f"vx{vpc.vni}"]
    first, *others = sorted(on_vxlan, key=lambda each: each.pref)
    assert isinstance(first.match, OtherPriority)
    assert first.actions == (Drop(),)
    assert [each.actions for each in others] == [(Redirect(near, EGRESS),), (Drop(),)]


def test_an_address_is_two_filters_and_a_route(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(8)
    for edge in ("e1", "e2"):
        pair.world.new_ops(edge)
    pair.associate(vpc, FIRST, A)
    pair.world.settle(2)
    for edge in ("e1", "e2"):
        assert Counter((type(op), type(op.obj)) for op in pair.world.new_ops(edge)) == {(Create, TcFilter): 2, (Create, Route): 1}
        assert nats(pair, edge, vpc) == {f"ingress {FIRST}/32 {A}", f"egress {A}/32 {FIRST}"}
        assert ways(pair, edge, vpc) == {f"{FIRST}/32"}
    pair.dissociate(vpc, FIRST)
    pair.world.settle(2)
    for edge in ("e1", "e2"):
        ops = pair.world.new_ops(edge)
        assert Counter((type(op), type(op.obj)) for op in ops) == {(Delete, TcFilter): 2, (Delete, Route): 1}
    pair.world.assert_settled()


def test_an_association_outlives_the_mapping_of_its_interface(pair: Pair) -> None:
    vpc, subnet = pair.vpc("a")
    placed = pair.world.run(subnet, "hv1")
    pair.associate(vpc, FIRST, placed.eni.address)
    pair.world.settle(3)
    pair.world.delete(keys.mapping(vpc.vni, placed.eni.address))
    pair.world.settle(3)
    assert ways(pair, "e1", vpc) == {f"{FIRST}/32"}
    routed = {obj.dst for obj in objects(pair, "e1", vpc) if isinstance(obj, Route) and obj.netns != OUTSIDE}
    assert f"{placed.eni.address}/32" not in routed


def test_an_edge_holds_the_mappings_and_no_route_tables(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.world.settle(3)
    assert lines(pair, "e1", vpc, Vrf) == {f"link vrf{vpc.vni} type vrf table {vpc.vni}"}
    inside = {obj.text() for obj in objects(pair, "e1", vpc) if isinstance(obj, Route) and obj.netns != OUTSIDE}
    assert inside == {
        f"route {A}/32 via 192.0.2.11 dev vx{vpc.vni}",
        f"route unreachable 0.0.0.0/0 table {vpc.vni} metric 4278198272",
    }


def test_ranges_of_the_vpc_and_of_its_peers_never_come_from_outside(pair: Pair) -> None:
    (one, _), (two, _) = pair.vpc("a"), pair.vpc("b", "10.1.0.0/16")
    made = peerings.request_peering(pair.world.store, pair.world.operator, one.id, two.id, name="p")
    peerings.accept_peering(pair.world.store, pair.world.operator, made.id)
    pair.associate(one, FIRST, A)
    pair.world.settle(3)
    near, _ = outside_cable(one.vni, gateway_of(one.vni))
    filters = [obj for obj in objects(pair, "e1", one) if isinstance(obj, TcFilter) and obj.ifname == near]
    matched = {each: each.match.src for each in filters if not isinstance(each.match, OtherPriority) and each.hook == INGRESS}
    assert {src for each, src in matched.items() if each.actions == (Drop(),)} == {"", "10.0.0.0/16", "10.1.0.0/16"}
    cables = {obj.ifname for obj in objects(pair, "e1", one) if isinstance(obj, CableEnd)}
    assert cables == set(outside_cable(one.vni, gateway_of(one.vni)))  # no cable to the peer
    sources = [each.pref for each, src in matched.items() if src]
    assert max(sources) < min(each.pref for each in filters if each.actions != (Drop(),))
    pair.world.assert_settled()


@pytest.mark.parametrize(
    ("address", "private", "words"),
    [
        ("203.0.113.7", A, "203.0.113.7 is in no address pool of this pair"),
        (THIRD, "10.9.0.4", "maps to 10.9.0.4, which is not in the VPC's ranges"),
        (SECOND, A, f"{SECOND} maps to {A}, as {FIRST} does"),
    ],
)
def test_what_cannot_be_meant_is_left_out_alone(pair: Pair, address: str, private: str, words: str) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.associate(vpc, address, private)
    pair.world.settle(3)
    for edge in ("e1", "e2"):
        assert ways(pair, edge, vpc) == {f"{FIRST}/32"}
        assert words in pair.world.agents[edge].reconciler.problems[vpc.vni]
        assert pair.world.agents[edge].reconciler.in_force(vpc.vni)
    pair.dissociate(vpc, address)
    pair.world.settle(3)
    pair.world.assert_settled()


def test_an_address_of_another_pairs_pool_is_no_address_of_this_one(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    assert ways(pair, "e1", vpc) == {f"{FIRST}/32"}
    pair.put_pool("198.51.100.128/25")
    pair.world.settle(3)
    assert ways(pair, "e1", vpc) == set()
    assert nats(pair, "e1", vpc) == set()


def test_two_vpcs_that_claim_one_address_do_not_fight_for_it(pair: Pair) -> None:
    (one, _), (two, _) = pair.vpc("a"), pair.vpc("b")
    for vpc in (one, two):
        pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    assert ways(pair, "e1", one) == ways(pair, "e1", two) == {f"{FIRST}/32"}
    pair.world.assert_settled()


def test_ipv6_ranges_of_the_pairs_pools_pass_as_they_are() -> None:
    pool = AddressPool(name="p", pair="west", cidrs=(POOL, POOL6))
    host = Host(name="e1", underlay=EDGES["e1"], role=Role.EDGE, pair="west", uplink=UPLINK)
    vpc = Vpc(
        id="vpc-00138800000000001",
        vni=5000,
        owner="o",
        name="v",
        cidrs=("10.0.0.0/16",),
        ipv6_cidrs=(RANGE6, "2001:dead::/56"),
        ipv6_pools={RANGE6: "p"},
    )
    seat = Seat(host="e1", vtep=EDGES["e1"])
    view = make_view(
        HostView(host=host, underlay_ifname="eth0", underlay_mtu=1550, pools=(pool,)),
        vpc,
        gateways=[Gateway(id=gateway_of(5000), seats=(seat,), seat=seat)],
    )
    found = vpc_objects([Internet()], view).values()
    of_ipv6 = [obj for obj in found if isinstance(obj, TcFilter) and obj.match.protocol == IPV6]
    filters = [f"{each.match.text()} {each.actions[0].text()}" for each in of_ipv6]
    near, far = outside_cable(5000, gateway_of(5000))
    assert sorted(filters) == [
        f"flower dst_ip {RANGE6} pass",
        f"flower dst_mac {gateway_mac(gateway_of(5000))} src_ip {RANGE6} mirred egress redirect dev {near}",
        f"flower src_ip {RANGE6} drop",
        f"flower src_ip {RANGE6} pass",
        "flower src_ip 2001:dead::/56 drop",
    ]
    assert [obj.text() for obj in found if isinstance(obj, Route)] == [f"route {RANGE6} via fe80::4f:0:8 dev {far} metric 5000"]


# CRC-32 is linear: these ranges differ, but the handles of their filters, CRC-32 of the match, are equal.
CLASHING = ("fd22:f58a:9829:cb00::/56", "fd8c:b348:ed12:6400::/56")


def gated(ranges: tuple[str, ...]) -> VpcView:
    """Return an edge's view of a VPC with an internet gateway and these customer-owned IPv6 ranges."""
    host = Host(name="e1", underlay=EDGES["e1"], role=Role.EDGE, pair="west", uplink=UPLINK)
    vpc = Vpc(id="vpc-00138800000000001", vni=5000, owner="o", name="v", cidrs=("10.0.0.0/16",), ipv6_cidrs=ranges)
    seat = Seat(host="e1", vtep=EDGES["e1"])
    view = HostView(host=host, underlay_ifname="eth0", underlay_mtu=1550)
    return make_view(view, vpc, gateways=[Gateway(id=gateway_of(5000), seats=(seat,), seat=seat)])


def test_ranges_that_were_chosen_to_clash_are_dropped_one_and_all() -> None:
    assert len({Match(protocol=IPV6, src=each).digest for each in CLASHING}) == 1
    found = [obj for obj in vpc_objects([Internet()], gated(CLASHING)).values() if isinstance(obj, TcFilter)]
    dropped = {obj.match.src for obj in found if isinstance(obj.match, Match) and obj.actions == (Drop(),)}
    assert dropped >= {*CLASHING, "10.0.0.0/16"}
    assert len({obj.key for obj in found}) == len(found)


def test_a_gateway_whose_ranges_find_no_place_is_left_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edges.cable.INSIDE_SOURCES", (5,))
    view = gated(CLASHING)
    assert not vpc_objects([Internet()], view)
    assert "peers collide; the gateway is left out" in _left_out(view)


def test_an_ipv6_range_of_another_pairs_pool_does_not_pass(pair: Pair) -> None:
    vpc, _ = pair.vpc("a", ipv6=RANGE6)
    pair.world.put(keys.vpc(vpc.vni), encode(msgspec.structs.replace(vpc, ipv6_pools={RANGE6: "east"})))
    pair.world.settle(3)
    assert ways(pair, "e1", vpc) == set()
    assert f"the range {RANGE6} is not in address pool east" in pair.world.agents["e1"].reconciler.problems[vpc.vni]


@pytest.mark.parametrize("own", ["fd00::/56", RANGE6])
def test_ipv6_ranges_of_the_customers_own_do_not_pass_and_are_no_problem(pair: Pair, own: str) -> None:
    vpc, _ = pair.vpc("a", ipv6=own)
    pair.put_pool(POOL, POOL6)  # the customer's range, although a pool contains it later
    pair.world.settle(3)
    assert ways(pair, "e1", vpc) == set()
    filters = [obj for obj in objects(pair, "e1", vpc) if isinstance(obj, TcFilter)]
    assert not [each for each in filters if Pass() in each.actions]
    pair.world.assert_settled()


def test_a_gateway_that_has_no_seat_here_leaves_nothing(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    pair.seat(vpc, "e2")
    pair.world.settle(3)
    assert objects(pair, "e1", vpc) == []
    assert ways(pair, "e2", vpc) == {f"{FIRST}/32"}
    pair.unseat(vpc)
    pair.world.settle(3)
    assert objects(pair, "e2", vpc) == []
    pair.world.assert_settled()


@pytest.mark.parametrize("kind", ["filter", "link", "clsact", "route", "neigh"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_whatever_the_kernel_refuses_for_a_while_comes_later(pair: Pair, kind: str, times: int) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    kernel = pair.world.kernels["e1"]
    kernel.fail_next(kind, errno.ENOBUFS, times)
    for act in (lambda: None, lambda: pair.unseat(vpc), lambda: pair.seat(vpc)):
        act()
        pair.world.settle(40)
    pair.world.assert_settled()


def test_drops_come_before_what_they_are_behind(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    pair.dissociate(vpc, FIRST)
    pair.world.settle(3)
    standing: dict[object, TcFilter] = {}
    changes = [op for op in pair.world.kernels["e1"].applied if isinstance(op.obj, TcFilter)]
    for op in changes:
        assert isinstance(op.obj, TcFilter)
        if isinstance(op, Delete):
            del standing[op.obj.key]
        else:
            standing[op.obj.key] = op.obj
        for each in standing.values():
            behind = (other for other in standing.values() if (other.ifname, other.hook) == (each.ifname, each.hook))
            assert each.actions == (Drop(),) or any(other.actions == (Drop(),) and other.pref > each.pref for other in behind)
    assert len(standing) == 6


def test_a_restarted_agent_changes_nothing(pair: Pair) -> None:
    vpc, _ = pair.vpc("a")
    pair.associate(vpc, FIRST, A)
    pair.world.settle(3)
    for edge in ("e1", "e2"):
        pair.world.new_ops(edge)
        pair.world.start(edge)
        assert pair.world.new_ops(edge) == []


def test_a_host_that_is_an_edge_no_more_gives_its_uplink_back(pair: Pair) -> None:
    pair.world.settle(3)
    kernel = pair.world.kernels["e1"]
    assert "eth1" not in kernel.devices
    pair.put_edge(Host(name="e1", underlay="192.0.2.21", role=Role.HYPERVISOR))
    pair.world.settle(3)
    assert "eth1" in kernel.devices
    assert not [obj for obj in kernel.objects.values() if obj.netns == OUTSIDE]
