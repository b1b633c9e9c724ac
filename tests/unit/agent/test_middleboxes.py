"""Routes to an interface, from records to kernels: the objects on each host, and the cost of changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from netorch.control.actions import moves
from netorch.control.actions.instances import Placed
from netorch.drivers.base import Underlay, UnderlayChanged
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.vpc import RouteTable, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.inventory import read_inventory
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, Neighbour, Route
from netorch.state.link import CableEnd, Link, VethPort, Vrf
from netorch.state.names import inlet_name, to_inlet_name, vrf_table
from netorch.state.nft import ZONES, NftChain, NftElement, PortChain
from netorch.state.op import Create, Delete, Op, Replace
from netorch.state.tc import Clsact, Match, TcFilter
from tests.unit.agent.world import World

DST, DST6 = "198.51.100.0/24", "2001:db8:99::/48"
IPV6 = "2001:db8::/56"


class Shop:
    """A VPC with an interface on each of three hosts, and an appliance on the third."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.vpc, self.subnet = world.vpc("a", ipv6=IPV6)
        for host in ("hv1", "hv2", "hv3"):
            world.run(self.subnet, host)
        self.box: Placed = world.run(self.subnet, "hv3")
        self.vni = self.vpc.vni
        world.settle(3)
        self.forget()

    @property
    def eni(self) -> NetworkInterface:
        return read_inventory(self.world.store).vpcs[self.vni].of(NetworkInterface)[self.box.eni.id].record

    def forget(self) -> None:
        for host in self.world.agents:
            self.world.new_ops(host)

    def route(self, *destinations: str) -> None:
        """Set the main table's routes: these destinations, to the appliance."""
        table = read_inventory(self.world.store).vpcs[self.vni].main_table()
        assert table is not None
        routes = tuple(VpcRoute(destination=dst, target=self.box.eni.id) for dst in destinations)
        self.put(msgspec.structs.replace(table, routes=routes))

    def check(self, on: bool) -> None:
        self.put(msgspec.structs.replace(self.eni, source_dest_check=on))

    def put(self, record: RouteTable | NetworkInterface) -> None:
        self.world.put(keys.resource(record.id), encode(record))
        self.world.turn()

    def objects(self, host: str) -> list[KernelObject]:
        return list(self.world.kernels[host].objects.values())

    def speakers(self, host: str) -> set[str]:
        return {obj.items[0] for obj in self.objects(host) if isinstance(obj, NftElement) and obj.set == "speakers"}

    def ways(self, host: str) -> dict[str, str]:
        """Return the routes to the appliance by destination: the output device, or the type of those without one."""
        found = (obj for obj in self.objects(host) if isinstance(obj, Route) and obj.table == self.vni)
        return {obj.dst: obj.ifname or obj.type for obj in found if obj.dst in (DST, DST6)}

    def inlet(self, host: str) -> list[Route]:
        """Return the effective routes of the inlet's VRF."""
        table = vrf_table(self.vni, 201)
        return [obj for obj in self.objects(host) if isinstance(obj, Route) and obj.table == table and obj.metric < 1 << 31]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2", "hv3")


@pytest.fixture
def shop(world: World) -> Shop:
    return Shop(world)


def test_a_route_leads_to_the_interface_s_host_by_its_mac_and_there_into_its_inlet(shop: Shop) -> None:
    shop.check(False)
    shop.route(DST, DST6)
    eni, vxlan = shop.box.eni, f"vx{shop.vni}"
    assert shop.ways("hv1") == shop.ways("hv2") == dict.fromkeys((DST, DST6), vxlan)
    hops = {obj.via for obj in shop.objects("hv1") if isinstance(obj, Route) and obj.dst in (DST, DST6)}
    for host in ("hv1", "hv2"):
        macs = {obj.lladdr for obj in shop.objects(host) if isinstance(obj, Neighbour) and obj.dst in hops}
        assert macs == {eni.mac}
        assert [obj.dst for obj in shop.objects(host) if isinstance(obj, Fdb) and obj.lladdr == eni.mac] == ["192.0.2.13"]
        assert not [obj for obj in shop.objects(host) if isinstance(obj, CableEnd | Clsact | TcFilter)]
    near, far = to_inlet_name(shop.vni, eni.id), inlet_name(shop.vni, eni.id)
    assert shop.ways("hv3") == dict.fromkeys((DST, DST6), near)
    assert {obj.ifname: obj.vrf for obj in shop.objects("hv3") if isinstance(obj, CableEnd)} == {
        near: f"vrf{shop.vni}",
        far: f"vrf{shop.vni}.201",
    }
    taken = [obj for obj in shop.objects("hv3") if isinstance(obj, TcFilter)]
    assert [(obj.ifname, obj.match, obj.needs) for obj in taken] == [(vxlan, Match(dst_mac=eni.mac), ("link", "overlay", far))]
    assert {(obj.dst, obj.ifname) for obj in shop.inlet("hv3")} == {(dst, port_name(eni.id)) for dst in ("0.0.0.0/0", "::/0")}
    shop.world.assert_settled()


def test_an_inlet_has_a_conntrack_zone_of_its_own_which_an_agent_learns_again(shop: Shop) -> None:
    shop.route(DST)
    zones = {obj.items[0]: obj.value for obj in shop.objects("hv3") if isinstance(obj, NftElement) and obj.set == ZONES}
    inlet = inlet_name(shop.vni, shop.box.eni.id)
    assert zones[inlet] == zones[f"vrf{shop.vni}.201"]
    assert zones[f"vrf{shop.vni}"] == zones[f"vx{shop.vni}"] != zones[inlet]
    assert to_inlet_name(shop.vni, shop.box.eni.id) not in zones, "nothing comes in by it"
    shop.world.assert_settled()


def test_the_check_is_the_inlets_route_the_ports_chain_and_the_other_hosts_speaker(shop: Shop) -> None:
    shop.route(DST, DST6)
    assert [obj.type for obj in shop.inlet("hv3")] == [BLACKHOLE, BLACKHOLE]
    assert shop.speakers("hv1") == shop.speakers("hv2") == shop.speakers("hv3") == set()
    shop.forget()
    shop.check(False)
    assert shop.speakers("hv1") == shop.speakers("hv2") == {"192.0.2.13"}
    assert shop.speakers("hv3") == set()
    assert [_named(op) for op in shop.world.new_ops("hv1")] == [(Create, NftElement)]
    assert sorted(map(str, map(_named, shop.world.new_ops("hv3")))) == sorted(
        map(str, [(Create, NftChain), (Replace, NftElement), (Replace, PortChain), (Replace, Route), (Replace, Route)])
    )
    shop.check(True)
    assert shop.speakers("hv1") == set()
    assert [obj.type for obj in shop.inlet("hv3")] == [BLACKHOLE, BLACKHOLE]
    shop.world.assert_settled()


def test_a_speaker_needs_no_route(shop: Shop) -> None:
    shop.check(False)
    assert shop.speakers("hv1") == {"192.0.2.13"}
    assert not [obj for obj in shop.objects("hv3") if isinstance(obj, CableEnd)]
    shop.world.assert_settled()


def test_routes_follow_an_interface_to_another_host(shop: Shop) -> None:
    shop.check(False)
    shop.route(DST)
    shop.forget()
    moves.move_instance(shop.world.store, shop.world.operator, shop.box.instance.id, "hv2")
    shop.world.settle(20, audits=False)
    changed = [op for op in shop.world.new_ops("hv1") if isinstance(op.obj, Fdb) and op.obj.lladdr == shop.box.eni.mac]
    assert [(type(op), op.obj) for op in changed] == [
        (Replace, Fdb(vni=shop.vni, ifname=f"vx{shop.vni}", lladdr=shop.box.eni.mac, dst="192.0.2.12"))
    ]
    assert shop.ways("hv3") == {DST: f"vx{shop.vni}"}
    assert not [obj for obj in shop.objects("hv3") if isinstance(obj, CableEnd | TcFilter | Clsact)]
    assert [obj.ifname for obj in shop.objects("hv2") if isinstance(obj, Vrf)] == [f"vrf{shop.vni}", f"vrf{shop.vni}.201"]
    assert shop.speakers("hv1") == shop.speakers("hv3") == {"192.0.2.12"}
    shop.world.assert_settled()


@pytest.mark.parametrize("others", [0, 20])
def test_a_route_costs_the_same_whatever_else_is_there(shop: Shop, others: int) -> None:
    for number in range(others):
        _, subnet = shop.world.vpc(f"other-{number}")
        for host in ("hv1", "hv3"):
            shop.world.run(subnet, host)
            shop.world.run(shop.subnet, host)
    shop.route(DST)
    shop.world.settle(3)
    shop.forget()
    shop.route(DST, "203.0.113.0/24")
    assert [_named(op) for op in shop.world.new_ops("hv1")] == [(Create, Route)]
    assert [_named(op) for op in shop.world.new_ops("hv3")] == [(Create, Route)]
    shop.route(DST)
    assert [_named(op) for op in shop.world.new_ops("hv1")] == [(Delete, Route)]


def test_a_route_to_a_host_that_takes_less_says_so(shop: Shop) -> None:
    shop.route(DST, DST6)
    for mtu, expected in ((1450, 1400), (9050, 0), (1450, 1400)):
        shop.world.kernels["hv3"].everywhere = Underlay(ifname="eth0", mtu=mtu)
        shop.world.kernels["hv3"].tell(UnderlayChanged())
        shop.world.settle(3)
        routes = [obj for obj in shop.objects("hv1") if isinstance(obj, Route) and obj.dst in (DST, DST6)]
        assert [obj.mtu for obj in routes] == [expected, expected]
    shop.world.assert_settled()


def test_what_the_first_route_to_an_interface_costs(shop: Shop) -> None:
    """Once per interface: a VRF, a cable and a filter on its host; a next hop on every other host."""
    shop.check(False)
    shop.forget()
    shop.route(DST)
    made = {host: Counter(type(op.obj).__name__ for op in shop.world.new_ops(host)) for host in ("hv1", "hv3")}
    assert made["hv1"] == {"Route": 1, "Neighbour": 1, "Fdb": 1}
    assert made["hv3"] == {
        "Vrf": 1,
        "CableEnd": 2,
        "AdminUp": 3,
        "Settings": 3,
        "Sysctl": 3,
        "Neighbour": 2,
        "Clsact": 1,
        "TcFilter": 1,
        "Route": 5,
        "NftElement": 2,
    }


def test_the_number_of_an_inlet_that_is_gone_serves_another(shop: Shop) -> None:
    others = [shop.world.run(shop.subnet, "hv3") for _ in range(3)]
    shop.world.settle(3)
    table = read_inventory(shop.world.store).vpcs[shop.vni].main_table()
    assert table is not None
    for first, second in ((0, 1), (2, 1), (0, 2)):
        targets = (others[first].eni.id, others[second].eni.id)
        routes = [VpcRoute(destination=f"203.0.{n}.0/24", target=target) for n, target in enumerate(targets)]
        shop.put(msgspec.structs.replace(table, routes=tuple(routes)))
        shop.world.turn()
        names = {obj.ifname for obj in shop.objects("hv3") if isinstance(obj, Vrf)}
        assert len(names) == 3, "the main one, and two inlets'"
        assert max(names) <= f"vrf{shop.vni}.203"
        cables = {obj.ifname for obj in shop.objects("hv3") if isinstance(obj, CableEnd)}
        assert {inlet_name(shop.vni, target) for target in targets} < cables
        shop.world.assert_settled()
    shop.put(msgspec.structs.replace(table, routes=()))
    assert not [obj for obj in shop.objects("hv3") if isinstance(obj, CableEnd | TcFilter)]
    zones = shop.world.agents["hv3"].reconciler.vnis()
    assert list(zones.values()).count(shop.vni) == 1, "the zones of inlets that are gone are free again"


def test_an_interface_without_a_number_for_its_inlet_is_a_black_hole_and_its_vpc_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netorch.agent.numbers.INLET_NUMBER_LAST", 201)
    more = shop.world.run(shop.subnet, "hv3")
    first, second = sorted((shop.box.eni.id, more.eni.id))
    table = read_inventory(shop.world.store).vpcs[shop.vni].main_table()
    assert table is not None
    both = (VpcRoute(destination=DST, target=first), VpcRoute(destination=DST6, target=second))
    shop.put(msgspec.structs.replace(table, routes=both))
    reconciler = shop.world.agents["hv3"].reconciler
    problems = reconciler.problems
    assert reconciler.in_force(shop.vni), "connections that rules no longer permit end, and interfaces move"
    assert f"routes to {second} are black holes on this host: 1 interfaces and subnets of the VPC have" in problems[shop.vni]
    assert shop.ways("hv3") == {DST: to_inlet_name(shop.vni, first), DST6: BLACKHOLE}
    shop.world.run(shop.subnet, "hv3")
    shop.world.settle(3)
    ports = {obj.ifname for obj in shop.objects("hv3") if isinstance(obj, VethPort)}
    assert len(ports) == 4, "whatever else the VPC gets is there"
    shop.put(msgspec.structs.replace(table, routes=both[1:]))
    shop.world.settle(3)
    assert shop.ways("hv3") == {DST6: to_inlet_name(shop.vni, second)}
    assert shop.vni not in problems


def test_a_route_to_an_interface_of_no_instance_is_a_black_hole(shop: Shop) -> None:
    shop.route(DST)
    shop.put(msgspec.structs.replace(shop.eni, instance=""))
    assert shop.ways("hv1") == {DST: BLACKHOLE}


@pytest.mark.parametrize("kind", [CableEnd, TcFilter, Clsact, Vrf])
def test_what_somebody_deletes_of_an_inlet_comes_back(shop: Shop, kind: type[Link]) -> None:
    shop.check(False)
    shop.route(DST, DST6)
    victims = [obj for obj in shop.objects("hv3") if isinstance(obj, kind) and (kind is not Vrf or obj.ifname.endswith(".201"))]
    for victim in victims:
        shop.world.kernels["hv3"].disturb(Delete(victim))
        shop.world.settle(3, audits=False)
        shop.world.assert_host_settled("hv3")


def _named(op: Op) -> tuple[type[Op], type[KernelObject]]:
    return type(op), type(op.obj)
