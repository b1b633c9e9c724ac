"""Gateways on edges, from records to hypervisors' kernels: routes, the cost of changes, and permitted VTEPs."""

from __future__ import annotations

from netorch.drivers.base import Underlay, UnderlayChanged
from netorch.model.routing.next_hop import gateway_mac, target_hop
from netorch.records import keys
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, Neighbour
from netorch.state.op import Replace
from tests.unit.agent.gateways.shop import DEFAULT, DEFAULT6, EDGES, PREFIX, Shop, vtep


def test_routes_lead_to_a_next_hop_whose_mac_is_the_gateways(shop: Shop) -> None:
    for host in ("hv1", "hv2"):
        ways = shop.ways(host)
        assert {dst: way.via for dst, way in ways.items()} == {
            DEFAULT: target_hop(shop.gateway, 4),
            PREFIX: target_hop(shop.gateway, 4),
            DEFAULT6: target_hop(shop.gateway, 6),
        }
        hops = {obj.dst: obj.lladdr for obj in shop.objects(host) if isinstance(obj, Neighbour)}
        assert {hops[way.via] for way in ways.values()} == {gateway_mac(shop.gateway)}
        assert shop.leads_to(host) == shop.chosen(host)
    shop.world.assert_settled()


def test_another_edge_is_one_operation_whatever_routes_there_are(shop: Shop) -> None:
    first, other = ("hv3", "hv4") if shop.chosen("hv1") == vtep("hv3") else ("hv4", "hv3")
    shop.silent("hv1", first)
    (op,) = shop.world.new_ops("hv1")
    assert isinstance(op, Replace)
    assert isinstance(op.obj, Fdb)
    assert op.obj.dst == vtep(other)
    shop.silent("hv1", first)
    shop.silent("hv1", other, first)
    shop.silent("hv1")
    assert [op.obj.dst for op in shop.world.new_ops("hv1") if isinstance(op.obj, Fdb)] == [vtep(first)]
    shop.world.assert_settled()


def test_an_edge_that_carries_nothing_here_costs_nothing_when_it_falls_silent(shop: Shop) -> None:
    shop.silent("hv1", "hv9")
    assert shop.world.new_ops("hv1") == []


def test_routes_are_black_holes_while_no_edge_carries_the_gateway(shop: Shop) -> None:
    shop.seat()
    shop.world.settle(1)
    assert {way.type for way in shop.ways("hv1").values()} == {BLACKHOLE}
    assert not [obj for obj in shop.objects("hv1") if isinstance(obj, Fdb) and obj.lladdr == gateway_mac(shop.gateway)]
    assert shop.speakers("hv1") == {}
    assert shop.chain("hv1") is None
    shop.world.assert_settled()


def test_a_route_says_when_the_edges_underlay_takes_less(shop: Shop) -> None:
    edge = next(name for name in EDGES if vtep(name) == shop.chosen("hv1"))
    for mtu, expected in ((1450, 1400), (1550, 0), (9000, 0)):
        kernel = shop.world.kernels[edge]
        kernel.underlays = {vtep(edge): Underlay(ifname="eth0", mtu=mtu)}
        kernel.tell(UnderlayChanged())
        shop.world.settle(2, audits=False)
        assert {way.mtu for way in shop.ways("hv1").values()} == {expected}
    shop.world.assert_settled()


def test_a_host_that_carries_the_gateway_and_has_no_uplink_has_no_way_to_it(shop: Shop) -> None:
    shop.seat("hv1", "hv2")
    shop.world.settle(1)
    assert {way.type for way in shop.ways("hv1").values()} == {BLACKHOLE}
    assert shop.speakers("hv1") == {vtep("hv2"): f"goto outside-{shop.vni:06x}"}
    shop.world.assert_settled()


def test_each_edge_of_the_gateway_speaks_for_the_outside_whether_it_answers_or_not(shop: Shop) -> None:
    chain = f"outside-{shop.vni:06x}"
    assert shop.speakers("hv1") == {vtep(edge): f"goto {chain}" for edge in EDGES}
    found = shop.chain("hv1")
    assert found is not None
    assert found.rules == (
        "@th,224,16 0x800 @th,336,32 & 0xffff0000 == 0xa000000 goto drop_unverified",
        "@th,224,16 0x86dd @th,304,128 & 0xffffffffffffff000000000000000000 == 0xfd000044000000000000000000000000 "
        "goto drop_unverified",
        "goto speaker",
    )
    shop.silent("hv1", *EDGES)
    assert shop.speakers("hv1") == {vtep(edge): f"goto {chain}" for edge in EDGES}


def test_nothing_is_left_of_a_vpc_that_is_carried_no_more(shop: Shop) -> None:
    records = shop.world.agents["hv1"].records
    assert set(records.seats.vteps()) == {vtep(edge) for edge in EDGES}
    for placement in list(records.placements):
        shop.world.delete(keys.placement("hv1", placement))
    shop.world.settle(2)
    assert not records.seats.vteps()
    assert records.underlay_mtus._places == {}
    assert [obj for obj in shop.objects("hv1") if obj.vni == shop.vni] == []
