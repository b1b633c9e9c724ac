"""Gateways on edges, from records to hypervisors' kernels: where routes lead, what a change costs, who speaks for whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netorch.drivers.base import Underlay, UnderlayChanged
from netorch.model.mapping import GatewayMapping, Seat
from netorch.model.routing.next_hop import gateway_mac, target_hop
from netorch.model.routing.seats import seat_for
from netorch.model.vpc import VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, UNREACHABLE, Neighbour, Route
from netorch.state.nft import NftChain, NftElement
from netorch.state.op import Replace
from tests.rig.seats import gateway_of, seat_gateway
from tests.unit.agent.world import World

IPV6 = "fd00:44::/56"
DEFAULT, PREFIX, DEFAULT6 = "0.0.0.0/0", "203.0.113.0/24", "::/0"
EDGES = ("hv3", "hv4")


class Shop:
    """A VPC with interfaces on two hosts and a gateway on two others, which stand for edges."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vpc, self.subnet = world.vpc("a", ipv6=IPV6)
        for host in ("hv1", "hv2"):
            world.run(self.subnet, host)
        self.vni = self.vpc.vni
        self.gateway = gateway_of(self.vni)
        self.seat(*EDGES)
        self.route(DEFAULT, PREFIX, DEFAULT6)
        world.settle(3)
        self.forget()

    def seat(self, *hosts: str) -> None:
        """Let these hosts carry the gateway, or nobody."""
        seat_gateway(self.world.store, self.vni, {host: vtep(host) for host in hosts})

    def route(self, *destinations: str) -> None:
        """Let the main table lead to the gateway, for these destinations only."""
        table = read_inventory(self.world.store).vpcs[self.vni].main_table()
        assert table is not None
        routes = tuple(VpcRoute(destination=dst, target=self.gateway) for dst in destinations)
        self.world.put(keys.resource(table.id), encode(msgspec.structs.replace(table, routes=routes)))

    def forget(self) -> None:
        for host in self.world.agents:
            self.world.new_ops(host)

    def objects(self, host: str) -> list[KernelObject]:
        return list(self.world.kernels[host].objects.values())

    def leads_to(self, host: str) -> str:
        """Return the VTEP behind the gateway's MAC."""
        return next(obj.dst for obj in self.objects(host) if isinstance(obj, Fdb) and obj.lladdr == gateway_mac(self.gateway))

    def ways(self, host: str) -> dict[str, Route]:
        return {obj.dst: obj for obj in self.objects(host) if isinstance(obj, Route) and obj.dst in (DEFAULT, PREFIX, DEFAULT6)}

    def chosen(self, host: str, *silent: str) -> str:
        seats = tuple(Seat(host=edge, vtep=vtep(edge)) for edge in EDGES)
        mapping = GatewayMapping(vni=self.vni, gateway=self.gateway, seats=seats)
        return seat_for(host, mapping, {vtep(name) for name in silent}).vtep

    def speakers(self, host: str) -> dict[str, str]:
        return {obj.items[0]: obj.value for obj in self.objects(host) if isinstance(obj, NftElement) and obj.set == "speakers"}

    def chain(self, host: str) -> NftChain | None:
        return next((obj for obj in self.objects(host) if isinstance(obj, NftChain) and obj.netns == UNDERLAY), None)

    def silent(self, host: str, *edges: str) -> None:
        self.world.agents[host].records.set_silent({vtep(edge) for edge in edges})
        self.world.turn(host, audits=False)


def vtep(host: str) -> str:
    return f"192.0.2.{10 + int(host[2:])}"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Four hosts with agents."""
    world = World(tmp_path, "hv1", "hv2", *EDGES)
    yield Shop(world)
    for name in list(world.agents):
        world.kill(name)
    for kernel in world.kernels.values():
        kernel.close()


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


def test_an_edge_has_no_way_to_the_gateway_that_it_carries(shop: Shop) -> None:
    shop.seat("hv1", "hv2")
    shop.world.settle(1)
    assert {way.type for way in shop.ways("hv1").values()} == {UNREACHABLE}
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
