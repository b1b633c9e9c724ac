"""Peerings on a host: their objects and their cost follow the records of both VPCs, change by change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from netorch.control.actions import instances, moves, peerings
from netorch.model.addr import packed
from netorch.model.routing.peering import PeeringConnection
from netorch.model.vpc import RouteTable, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import read_all
from netorch.state.base import link_key
from netorch.state.l3 import Route
from netorch.state.link import CableEnd, Vxlan
from netorch.state.nft import NftElement
from netorch.state.op import Create, Delete, Op, Replace
from tests.unit.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2")


class Pair:
    """Two peered VPCs on hv1 and hv2, each with a route to the other."""

    def __init__(self, world: World, *, ipv6: bool = False) -> None:
        self.world = world
        self.a, self.a_subnet = world.vpc("a", "10.0.0.0/16", "fd00:0:0:100::/56" if ipv6 else "")
        self.b, self.b_subnet = world.vpc("b", "10.1.0.0/16", "fd00:0:0:200::/56" if ipv6 else "")
        self.connection = self.peer(self.a, self.b)
        self.route(self.a, "10.1.0.0/16", *(["fd00:0:0:200::/56"] if ipv6 else []))
        self.route(self.b, "10.0.0.0/16", *(["fd00:0:0:100::/56"] if ipv6 else []))

    def peer(self, one: Vpc, other: Vpc) -> PeeringConnection:
        made = peerings.request_peering(self.world.store, self.world.operator, one.id, other.id, name=other.name)
        return peerings.accept_peering(self.world.store, self.world.operator, made.id)

    def route(self, vpc: Vpc, *destinations: str, target: str = "") -> None:
        """Set the routes of a VPC's main table: these destinations, to the connection."""
        (main,) = [found.record for found in read_all(self.world.store, RouteTable, vpc.vni).values() if found.record.main]
        routes = tuple(VpcRoute(destination=found, target=target or self.connection.id) for found in destinations)
        self.world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, routes=routes)))

    def ops(self, host: str) -> list[Op]:
        """Return a host's next operations, and check that it then matches its records."""
        self.world.turn(host, audits=False)
        found = self.world.new_ops(host)
        self.world.turn(host, audits=False)
        assert self.world.new_ops(host) == []
        self.world.assert_host_settled(host)
        return found


def routes(world: World, host: str, table: int) -> dict[str, tuple[str, str]]:
    """Return the routes of a table with an output device: destination -> device and next hop."""
    found = [obj for obj in world.kernels[host].objects.values() if isinstance(obj, Route) and obj.table == table and obj.ifname]
    best = {obj.dst: obj for obj in sorted(found, key=lambda obj: -obj.metric)}
    return {dst: (obj.ifname, obj.via) for dst, obj in best.items()}


def cables(world: World, host: str) -> list[str]:
    return sorted(obj.ifname for obj in world.kernels[host].objects.values() if isinstance(obj, CableEnd))


def may_speak(world: World, host: str, vni: int) -> list[tuple[str, str]]:
    """Return the VTEPs that may send packets of a VNI to a host, with the sender addresses they may use."""
    found = [obj for obj in world.kernels[host].objects.values() if isinstance(obj, NftElement) and obj.set.startswith("senders")]
    return sorted((obj.items[0], obj.items[3]) for obj in found if obj.vni == vni)


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_peer_on_another_host_is_reached_by_its_own_vxlan_device(world: World, ipv6: bool) -> None:
    pair = Pair(world, ipv6=ipv6)
    one, other = world.run(pair.a_subnet, "hv1"), world.run(pair.b_subnet, "hv2")
    world.settle(3)
    world.assert_settled()
    for host, mine, theirs, there in (
        ("hv1", pair.a.vni, pair.b.vni, other.eni),
        ("hv2", pair.b.vni, pair.a.vni, one.eni),
    ):
        vtep = "192.0.2.12" if host == "hv1" else "192.0.2.11"
        found = routes(world, host, mine)
        for address in there.addresses:
            assert found[f"{address}/{128 if ':' in address else 32}"][0] == f"vx{theirs}"
            assert (vtep, hex(int.from_bytes(packed(address), "big"))) in may_speak(world, host, mine)
        assert cables(world, host) == []


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_peer_on_the_same_host_is_reached_by_a_cable(world: World, ipv6: bool) -> None:
    pair = Pair(world, ipv6=ipv6)
    one, other = world.run(pair.a_subnet, "hv1"), world.run(pair.b_subnet, "hv1")
    world.settle(3)
    world.assert_settled()
    digits = pair.connection.id[-11:-4]
    near, far = f"p-{pair.a.vni:06x}{digits}", f"q-{pair.b.vni:06x}{digits}"
    assert cables(world, "hv1") == [near, far]
    for vni, end, there in ((pair.a.vni, near, other.eni), (pair.b.vni, far, one.eni)):
        found = routes(world, "hv1", vni)
        assert all(found[f"{address}/{128 if ':' in address else 32}"][0] == end for address in there.addresses)
    assert cables(world, "hv2") == []
    assert world.agents["hv2"].records.carried() == set()


def test_without_a_route_nothing_leads_to_the_peer_and_with_one_half_nothing_comes_back(world: World) -> None:
    pair = Pair(world)
    one, other = world.run(pair.a_subnet, "hv1"), world.run(pair.b_subnet, "hv2")
    pair.route(pair.b)
    world.settle(3)
    world.assert_settled()
    assert f"{other.eni.address}/32" in routes(world, "hv1", pair.a.vni)
    assert f"{one.eni.address}/32" not in routes(world, "hv2", pair.b.vni)


def test_one_changed_mapping_of_a_peer_costs_the_same_however_many_there_are(world: World) -> None:
    pair = Pair(world)
    world.run(pair.a_subnet, "hv1")
    world.run(pair.b_subnet, "hv2")
    world.settle(3)
    counts = []
    for _ in range(3):
        for _ in range(20):
            world.run(pair.b_subnet, "hv2")
        pair.ops("hv1")
        before = world.agents["hv1"].reconciler.writes
        world.run(pair.b_subnet, "hv2")
        ops = pair.ops("hv1")
        assert world.agents["hv1"].reconciler.writes - before == len(ops)
        counts.append(sorted(type(op.obj).__name__ for op in ops))
    assert counts[0] == counts[1] == counts[2]
    # In each of the two VPCs: a route, the permitted sender, and its class.
    assert counts[0] == ["NftElement"] * 4 + ["Route"] * 2


def test_a_route_changed_elsewhere_costs_nothing_for_the_peers_mappings(world: World) -> None:
    pair = Pair(world)
    world.run(pair.a_subnet, "hv1")
    for _ in range(5):
        world.run(pair.b_subnet, "hv2")
    world.settle(3)
    pair.ops("hv1")
    (main,) = [found.record for found in read_all(world.store, RouteTable, pair.a.vni).values() if found.record.main]
    more = VpcRoute(destination="192.0.2.0/24", target="blackhole")
    world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, routes=(*main.routes, more))))
    assert [type(op) for op in pair.ops("hv1")] == [Create]


def test_longer_routes_elsewhere_win(world: World) -> None:
    pair = Pair(world)
    world.run(pair.a_subnet, "hv1")
    here, there = (
        world.run(pair.b_subnet, "hv2").eni.address,
        world.run(pair.b_subnet, "hv2").eni.address,
    )
    (main,) = [found.record for found in read_all(world.store, RouteTable, pair.a.vni).values() if found.record.main]
    longer = VpcRoute(destination=f"{there}/32", target="blackhole")
    world.put(keys.resource(main.id), encode(msgspec.structs.replace(main, routes=(*main.routes, longer))))
    world.settle(3)
    world.assert_settled()
    found = routes(world, "hv1", pair.a.vni)
    assert f"{here}/32" in found
    assert f"{there}/32" not in found
    pair.route(pair.a, f"{there}/32")  # a route to a single address is valid
    world.settle(3)
    world.assert_settled()
    found = routes(world, "hv1", pair.a.vni)
    assert f"{here}/32" not in found
    assert f"{there}/32" in found


def _without_routes(pair: Pair) -> None:
    pair.route(pair.a)
    pair.route(pair.b)


END: dict[str, Callable[[Pair], None]] = {
    "delete": lambda pair: peerings.delete_peering(pair.world.store, pair.world.operator, pair.connection.id),
    "routes": _without_routes,
}


@pytest.mark.parametrize("end", END)
@pytest.mark.parametrize("there", ["hv1", "hv2"])
def test_what_led_to_the_peer_goes_at_once(world: World, end: str, there: str) -> None:
    pair = Pair(world)
    one, other = world.run(pair.a_subnet, "hv1"), world.run(pair.b_subnet, there)
    world.settle(3)
    END[end](pair)
    pair.ops("hv1")
    assert f"{other.eni.address}/32" not in routes(world, "hv1", pair.a.vni)
    pair.ops(there)
    assert f"{one.eni.address}/32" not in routes(world, there, pair.b.vni)
    world.settle(3)
    world.assert_settled()
    if end == "delete":
        assert cables(world, "hv1") == []
        carried = {pair.a.vni} | ({pair.b.vni} if there == "hv1" else set())
        assert world.agents["hv1"].records.carried() == carried
        assert may_speak(world, "hv1", pair.a.vni) == []


def test_the_last_interface_of_a_vpc_takes_the_peer_along(world: World) -> None:
    pair = Pair(world)
    one = world.run(pair.a_subnet, "hv1")
    world.run(pair.b_subnet, "hv2")
    world.settle(3)
    assert isinstance(world.kernels["hv1"].objects[link_key(f"vx{pair.b.vni}")], Vxlan)
    instances.terminate_instance(world.store, world.operator, one.instance.id)
    world.settle(3)
    world.assert_settled()
    assert link_key(f"vx{pair.b.vni}") not in world.kernels["hv1"].objects
    assert world.agents["hv1"].records.vpcs == {}
    assert world.agents["hv2"].records.carried() == {pair.a.vni, pair.b.vni}  # hv2 follows a, though a has no instances


def test_it_goes_no_further_than_the_peer(world: World) -> None:
    pair = Pair(world)
    c, c_subnet = world.vpc("c", "10.2.0.0/16")
    to_c = pair.peer(pair.b, c)
    pair.route(pair.b, "10.2.0.0/16", target=to_c.id)
    pair.route(c, "10.1.0.0/16", "10.0.0.0/16", target=to_c.id)
    pair.route(pair.a, "10.1.0.0/16", "10.2.0.0/16")
    one = world.run(pair.a_subnet, "hv1")
    world.run(pair.b_subnet, "hv1")
    three = world.run(c_subnet, "hv2")
    world.settle(3)
    world.assert_settled()
    assert f"{three.eni.address}/32" not in routes(world, "hv1", pair.a.vni)
    assert f"{three.eni.address}/32" in routes(world, "hv1", pair.b.vni)
    assert f"{one.eni.address}/32" not in routes(world, "hv2", c.vni)
    assert world.agents["hv2"].records.carried() == {pair.b.vni, c.vni}


def test_an_interface_that_moves_stays_reachable(world: World) -> None:
    pair = Pair(world)
    world.run(pair.a_subnet, "hv1")
    other = world.run(pair.b_subnet, "hv1")
    world.settle(3)
    for host, ifname in (("hv2", f"vx{pair.b.vni}"), ("hv1", cables(world, "hv1")[0])):
        moves.move_instance(world.store, world.operator, other.instance.id, host)
        for _ in range(60):
            world.turn(audits=False)
            world.clock.now += 1.0
            assert f"{other.eni.address}/32" in routes(world, "hv1", pair.a.vni)
        world.assert_settled()
        assert routes(world, "hv1", pair.a.vni)[f"{other.eni.address}/32"][0] == ifname


def test_two_peers_with_the_same_ranges_are_told_apart_by_routes(world: World) -> None:
    pair = Pair(world)
    c, c_subnet = world.vpc("c", "10.1.0.0/16")
    to_c = pair.peer(pair.a, c)
    world.run(pair.a_subnet, "hv1")
    other, third = world.run(pair.b_subnet, "hv2"), world.run(c_subnet, "hv2")
    assert other.eni.address == third.eni.address
    world.settle(3)
    world.assert_settled()
    address = f"{other.eni.address}/32"
    assert routes(world, "hv1", pair.a.vni)[address][0] == f"vx{pair.b.vni}"
    pair.route(pair.a, "10.1.0.0/16", target=to_c.id)
    ops = pair.ops("hv1")
    assert [type(op) for op in ops if isinstance(op.obj, Route)] == [Replace]
    assert routes(world, "hv1", pair.a.vni)[address][0] == f"vx{c.vni}"
    peerings.delete_peering(world.store, world.operator, pair.connection.id)
    ops = pair.ops("hv1")
    assert not [op for op in ops if isinstance(op, Delete) and isinstance(op.obj, Route) and op.obj.table == pair.a.vni]
    assert routes(world, "hv1", pair.a.vni)[address][0] == f"vx{c.vni}"
    world.settle(3)
    world.assert_settled()


def test_an_address_that_two_peers_have_belongs_to_no_group(world: World) -> None:
    pair = Pair(world)
    c, c_subnet = world.vpc("c", "10.1.0.0/16")
    world.run(pair.a_subnet, "hv1")
    address = world.run(pair.b_subnet, "hv2").eni.address
    world.run(c_subnet, "hv2")
    world.settle(3)
    classes = [
        obj
        for obj in world.kernels["hv1"].objects.values()
        if isinstance(obj, NftElement) and obj.set == f"identity-{pair.a.vni:06x}.4"
    ]
    assert address in {obj.items[0] for obj in classes}
    pair.peer(pair.a, c)
    world.settle(3)
    world.assert_settled()
    classes = [
        obj
        for obj in world.kernels["hv1"].objects.values()
        if isinstance(obj, NftElement) and obj.set == f"identity-{pair.a.vni:06x}.4"
    ]
    assert address not in {obj.items[0] for obj in classes}


def test_somebody_who_deletes_an_end_gets_nothing_by_it(world: World) -> None:
    pair = Pair(world)
    world.run(pair.a_subnet, "hv1")
    world.run(pair.b_subnet, "hv1")
    world.settle(3)
    kernel = world.kernels["hv1"]
    for ifname in cables(world, "hv1"):
        kernel.disturb(Delete(kernel.objects[link_key(ifname)]))
        world.turn(audits=False)
        world.turn(audits=False)
        world.assert_host_settled("hv1")
    vxlan = kernel.objects[link_key(f"vx{pair.b.vni}")]
    kernel.disturb(Delete(vxlan))
    world.turn(audits=False)
    world.turn(audits=False)
    world.assert_host_settled("hv1")
