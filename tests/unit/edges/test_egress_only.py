"""Egress-only internet gateways, from records to the kernels of edges, and packets through them."""

from __future__ import annotations

import msgspec
import pytest

from netorch.control.actions import route_tables, subnets
from netorch.control.actions.groups import create_security_group
from netorch.control.actions.instances import Placed
from netorch.control.actions.memberships import modify_interface_groups
from netorch.control.actions.permissions import Permission, authorize
from netorch.model.ids import port_name
from netorch.model.packet import ACK, Packet, echo
from netorch.model.routing.next_hop import gateway_mac
from netorch.model.security import Direction
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import read_vpc
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import Route
from netorch.state.link import CableEnd
from netorch.state.names import egress_only_port, outside_cable
from netorch.state.netns import Namespace
from netorch.state.nft import NftElement, NftTable
from netorch.state.tc import Redirect, TcFilter
from netorch.trace.codes import Code
from netorch.trace.host_model import HostModel
from netorch.trace.walk import round_trip, walk
from netorch.trace.way import Arrival, Departure, Place, RoundTrip
from tests.rig.seats import egress_only_of, seat_egress_only
from tests.unit.edges.pair import EDGES, POOL, UPLINK, Pair, gateway_of

RANGE = "2001:db8:1000::/56"
SERVER, FRIEND = "2001:4860::10", "2001:4860::20"


class Site:
    """A VPC with an egress-only gateway: instance 0 in a subnet that uses it, 1 in one that uses both gateways, 2 the other."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.world = pair, pair.world
        self.vpc, subnet = self.world.vpc("a", ipv6=RANGE)
        pair.put_pool(POOL, "2001:db8:1000::/40")
        self.world.put(keys.vpc(self.vni), encode(msgspec.structs.replace(self.vpc, ipv6_pools={RANGE: "west"})))
        seat_egress_only(self.world.store, self.vni, EDGES)
        self.ranges = [subnet.ipv6_cidr]
        self.placed = [self.world.run(subnet, "hv1")]
        self._open(self.placed[0])
        self.lead("main", "::/0", "eigw")
        self.world.settle(8)  # until both edges are active

    @property
    def vni(self) -> int:
        return self.vpc.vni

    @property
    def gateway(self) -> str:
        return egress_only_of(self.vni)

    @property
    def port(self) -> str:
        return egress_only_port(self.vni, self.gateway)

    def beside(self) -> None:
        """Add an internet gateway, a subnet that uses both gateways, and one that uses only the internet gateway."""
        self.pair.seat(self.vpc)
        for number, name in enumerate(("mixed", "public"), 1):
            table = route_tables.create_route_table(self.world.store, self.world.operator, self.vpc.id, name=name)
            cidr = RANGE.replace("::/56", f":{number}::/64")
            subnet = subnets.create_subnet(
                self.world.store, self.world.operator, self.vpc.id, name=name, cidr=f"10.0.{number}.0/24", ipv6_cidr=cidr
            )
            subnets.associate_route_table(self.world.store, self.world.operator, subnet.id, table.id)
            self.ranges.append(cidr)
            self.placed.append(self.world.run(subnet, "hv1"))
            self._open(self.placed[-1])
        self.lead("mixed", "::/0", "eigw")
        self.lead("mixed", f"{FRIEND}/128", "igw")
        self.lead("public", "::/0", "igw")
        self.world.settle(5)

    def _open(self, placed: Placed) -> None:
        world = self.world
        group = create_security_group(world.store, world.operator, self.vpc.id, name=f"g{placed.eni.id[-4:]}", description="")
        authorize(world.store, world.operator, group.id, Direction.INGRESS, [Permission(protocol="all", peer="::/0")])
        modify_interface_groups(world.store, world.operator, placed.eni.id, [group.id])

    def lead(self, table: str, destination: str, target: str) -> None:
        tables = route_tables.describe_route_tables(self.world.store, self.world.operator, self.vpc.id)
        found = next(each for each in tables if each.table.name == table)
        route_tables.create_route(self.world.store, self.world.operator, found.table.id, destination, target)

    def objects(self, host: str) -> list[KernelObject]:
        """Return a host's kernel objects of the VPC."""
        return [obj for obj in self.world.kernels[host].objects.values() if obj.vni == self.vni]

    def ways_in(self, edge: str) -> dict[str, str]:
        """Return the next hops of the routes to the VPC's ranges in the namespace `outside`."""
        found = (obj for obj in self.objects(edge) if isinstance(obj, Route) and obj.netns == "outside")
        return {obj.dst: obj.via for obj in found}

    @property
    def models(self) -> dict[str, HostModel]:
        return {name: HostModel(name, kernel.objects) for name, kernel in self.world.kernels.items()}

    def address(self, number: int) -> str:
        return self.placed[number].eni.ipv6_address

    def sent(self, number: int, destination: str) -> RoundTrip:
        """Return the round trip of a ping that an instance sends."""
        eni = self.placed[number].eni
        start = Departure(host="hv1", ifname=port_name(eni.id), mac=eni.mac)
        return round_trip(self.models, start, echo(eni.ipv6_address, destination))

    def comes(self, edge: str, source: str, number: int) -> RoundTrip:
        """Return the round trip of a ping that an edge receives from the internet."""
        return round_trip(self.models, Arrival(host=edge, ifname=UPLINK.device), echo(source, self.address(number)))


@pytest.fixture
def site(pair: Pair) -> Site:
    return Site(pair)


def test_each_seat_has_all_of_the_gateway_and_a_cable_of_its_own(site: Site) -> None:
    near, far = outside_cable(site.vni, site.gateway)
    for edge in EDGES:
        held = site.objects(edge)
        assert Namespace(vni=site.vni, label=site.gateway) in held
        ends = {(obj.netns, obj.ifname): obj for obj in held if isinstance(obj, CableEnd)}
        assert ends.keys() == {("overlay", near), ("outside", far), ("overlay", site.port), (site.gateway, "eth0")}
        assert ends[site.gateway, "eth0"].lladdr == gateway_mac(site.gateway)
        assert site.ways_in(edge) == {site.ranges[0]: "fe80::4f:0:a"}
        passes = {obj.items for obj in held if isinstance(obj, NftElement) and obj.set == "passes"}
        assert passes == {(site.port, f"vx{site.vni}")}
    assert not [obj for obj in site.objects("hv1") if isinstance(obj, Namespace | CableEnd)]
    site.world.assert_settled()


def test_answers_go_to_the_edge_that_is_in_use(site: Site) -> None:
    mac, near = gateway_mac(site.gateway), outside_cable(site.vni, site.gateway)[0]

    def to(edge: str) -> set[str]:
        found = (obj for obj in site.objects(edge) if isinstance(obj, TcFilter) and obj.ifname == near and obj.hook == "ingress")
        return {action.ifname for obj in found for action in obj.actions if isinstance(action, Redirect)}

    def fdb(host: str) -> list[str]:
        return [obj.dst for obj in site.objects(host) if isinstance(obj, Fdb) and obj.lladdr == mac]

    assert (to("e1"), to("e2")) == ({site.port}, {f"vx{site.vni}"})
    assert (fdb("e1"), fdb("e2"), fdb("hv1")) == ([], [EDGES["e1"]], [EDGES["e1"]])
    for host in ("hv1", "e2"):
        site.world.kernels[host].silent.add(EDGES["e1"])
    site.world.settle(10)
    assert to("e2") == {site.port}
    assert (fdb("e2"), fdb("hv1")) == ([], [EDGES["e2"]])


def test_beside_an_internet_gateway_it_has_the_ranges_of_its_subnets_only(site: Site) -> None:
    site.beside()
    for edge in EDGES:
        assert site.ways_in(edge) == {
            RANGE: "fe80::4f:0:8",
            site.ranges[0]: "fe80::4f:0:a",
            site.ranges[1]: "fe80::4f:0:a",
        }
        (table,) = (obj for obj in site.objects(edge) if isinstance(obj, NftTable) and obj.netns == site.gateway)
        assert f"ip6 daddr {site.ranges[1]} goto sources_0" in table.body
        assert f"ip6 saddr {FRIEND}/128 notrack" in table.body
        assert not [obj for obj in site.objects(edge) if outside_cable(site.vni, site.gateway)[0] in obj.text()]
    site.world.assert_settled()
    site.pair.unseat(site.vpc)
    site.world.settle(5)
    assert site.ways_in("e1") == {site.ranges[0]: "fe80::4f:0:a", site.ranges[1]: "fe80::4f:0:a"}
    assert not [obj for obj in site.objects("e1") if outside_cable(site.vni, gateway_of(site.vni))[0] in obj.text()]
    site.world.assert_settled()


def test_a_route_that_goes_takes_the_subnet_along(site: Site) -> None:
    (main,) = route_tables.describe_route_tables(site.world.store, site.world.operator, site.vpc.id)
    before = dict(site.world.kernels["e1"].objects)
    route_tables.delete_route(site.world.store, site.world.operator, main.table.id, "::/0")
    site.world.settle(3)
    gone = [obj for key, obj in before.items() if key not in site.world.kernels["e1"].objects]
    assert [obj.dst for obj in gone if isinstance(obj, Route)] == site.ranges
    assert len(gone) == 1


def test_a_gateway_that_goes_leaves_nothing_and_a_restarted_agent_writes_nothing(site: Site) -> None:
    for edge in EDGES:
        before = dict(site.world.kernels[edge].objects)
        site.world.kill(edge)
        site.world.start(edge, site.world.kernels[edge])
        site.world.settle(3)
        assert site.world.agents[edge].reconciler.writes == 0
        assert dict(site.world.kernels[edge].objects) == before
    for key in (keys.resource(site.gateway), keys.gateway_mapping(site.vni, site.gateway)):
        site.world.delete(key)
    for edge in EDGES:
        site.world.delete(keys.placement(edge, site.gateway))
    site.world.settle(3)
    assert not [obj for edge in EDGES for obj in site.objects(edge) if site.gateway in obj.text() or site.port in obj.text()]
    site.world.assert_settled()


def test_a_vpc_that_cannot_be_compiled_keeps_its_ways_in_as_long_as_it_has_the_range(site: Site) -> None:
    (main,) = route_tables.describe_route_tables(site.world.store, site.world.operator, site.vpc.id)
    site.world.put(keys.resource(main.table.id), b"{")
    tagged = msgspec.structs.replace(site.vpc, ipv6_pools={RANGE: "west"}, tags={"a": "b"})
    site.world.put(keys.vpc(site.vni), encode(tagged))
    site.world.settle(3)
    assert site.ways_in("e1") == {site.ranges[0]: "fe80::4f:0:a"}
    site.world.put(keys.vpc(site.vni), encode(msgspec.structs.replace(tagged, ipv6_cidrs=(), ipv6_pools={})))
    site.world.settle(3)
    assert site.ways_in("e1") == {}


@pytest.mark.parametrize("range_", ["2001:db8:ff00::/56", "fd00::/56"])
def test_a_range_of_the_customers_own_has_no_way_in(pair: Pair, range_: str) -> None:
    vpc, _ = pair.world.vpc("a", ipv6=range_)
    seat_egress_only(pair.world.store, vpc.vni, EDGES)
    pair.world.settle(3)
    found = [obj for obj in pair.world.kernels["e1"].objects.values() if obj.vni == vpc.vni]
    assert not [obj for obj in found if isinstance(obj, Namespace) or (isinstance(obj, Route) and obj.netns == "outside")]
    assert read_vpc(pair.world.store, pair.world.operator, vpc.id).record.ipv6_cidrs == (range_,)


# --- packets -----------------------------------------------------------------------------------------------------------------


def test_a_packet_leaves_as_it_is_and_the_answer_comes_by_either_edge(site: Site) -> None:
    trip = site.sent(0, SERVER)
    assert trip.there.left
    assert trip.there.packet.source == site.address(0)
    there = [Place.VERIFY, Place.INLET, Place.EGRESS_ONLY, Place.GATEWAY, Place.GATEWAY, Place.OUTSIDE, Place.UPLINK]
    assert [hop.place for hop in trip.there.hops if hop.host in EDGES] == there
    assert [back.hops[0].host for back in trip.backs] == sorted(EDGES)
    assert {back.arrived_at for back in trip.backs} == {port_name(site.placed[0].eni.id)}


@pytest.mark.parametrize("edge", EDGES)
def test_what_nobody_has_asked_for_ends_at_the_gateway(site: Site, edge: str) -> None:
    found = site.comes(edge, SERVER, 0).there
    assert (found.code, found.counter) == (Code.EIGW_REQUIRES_SOURCE_IN_VPC, "unasked")
    assert (found.host, found.hops[-1].place) == ("e1", Place.EGRESS_ONLY)


@pytest.mark.parametrize("edge", EDGES)
def test_beside_an_internet_gateway_each_subnet_is_reached_by_whom_its_routes_lead_to(site: Site, edge: str) -> None:
    site.beside()
    arrives = {(source, number): site.comes(edge, source, number).succeeded for source in (SERVER, FRIEND) for number in range(3)}
    assert {key for key, arrived in arrives.items() if arrived} == {(FRIEND, 1), (SERVER, 2), (FRIEND, 2)}
    assert all(site.sent(number, destination).succeeded for number in range(3) for destination in (SERVER, FRIEND))


def test_a_packet_that_begins_nothing_is_told_so(site: Site) -> None:
    eni = site.placed[0].eni
    packet = Packet(source=eni.ipv6_address, destination=SERVER, protocol=6, source_port=40000, destination_port=80, flags=ACK)
    found = walk(site.models, Departure(host="hv1", ifname=port_name(eni.id), mac=eni.mac), packet)
    assert found.code is Code.INVALID_CONNECTION_STATE
