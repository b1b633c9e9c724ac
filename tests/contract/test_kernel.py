"""What every Kernel must do: the same test bodies against the fake and against Linux, so that the fake may be believed."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec
import pytest

from netorch.drivers import ethtool, netns
from netorch.drivers.base import Gone, Kernel, KernelEvent, Lost, Seen
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import KernelError
from netorch.plan.diff import diff
from netorch.state.base import KernelObject, Key
from netorch.state.flow import BEGINNER_TRACKS, OTHER_END_TRACKS, Flow
from netorch.state.l2 import Fdb
from netorch.state.l3 import IPV6_METRIC, UNREACHABLE, UNREACHABLE_METRIC, VRF_PRIORITY, Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, Gro, IncompleteLink, Inside, Link, Sysctl, TapPort, VethPort, Vrf, Vxlan
from netorch.state.nft import NftChain, NftElement, NftTable, PortChain
from netorch.state.op import Create, Delete, Op, Replace
from netorch.state.owner import fabric_netns
from netorch.state.sysctls import PORT_V4, VXLAN_V4, device_sysctls
from policy import nftgen, skeleton
from tests import chains

HOST = "contract"
VNI = 5000
PORT_MAC, MAC, ROUTER = "02:4e:54:ff:ff:01", "06:00:00:00:00:01", "02:4e:c0:00:02:0c"
PORT, TAP, INSTANCE = "v-0013880000001", "v-0013880000002", "i-00138800000000001"

VRF = Vrf(vni=VNI, ifname="vrf5000", table=VNI)
VXLAN = Vxlan(ifname="vx5000", vni=VNI, local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1500, vrf="vrf5000")
INSIDE = Inside(ifname="eth0", lladdr=MAC, addresses=("10.0.0.11/24",), gateways=("10.0.0.1",))
VETH = VethPort(
    vni=VNI, ifname=PORT, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000", instance_netns=INSTANCE, make_netns=True, inside=INSIDE
)
TAP_PORT = TapPort(vni=VNI, ifname=TAP, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000")
LAST_ROUTE = Route(vni=VNI, table=VNI, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
PORT_ROUTE = Route(vni=VNI, table=VNI, dst="10.0.0.11/32", ifname=PORT)
NEIGHBOUR = Neighbour(vni=VNI, ifname="vx5000", dst="192.0.2.12", lladdr=ROUTER)
FDB = Fdb(vni=VNI, ifname="vx5000", lladdr=ROUTER, dst="192.0.2.12")
REMOTE_ROUTE = Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12")
ADDRESS = Address(vni=VNI, ifname="vrf5000", address="10.0.0.1/32")
TABLES = (skeleton.underlay_table(), *skeleton.fabric_tables())
ELEMENTS = (
    nftgen.transit("vx5000", "10.0.0.11", VNI),
    nftgen.transit("vx5000", "2001:db8::11", VNI),
    nftgen.sender("peers", "192.0.2.12", VNI, "10.0.0.12"),
    nftgen.member("192.0.2.12", VNI),
)
CHAIN = nftgen.port_chain(VNI, PORT, MAC, "10.0.0.11", ("2001:db8::11", "::"))
ZONE = chains.element("zone", "vx5000", value="0x7")
FLOW = Flow(
    zone=7,
    protocol=6,
    source="10.0.0.11",
    destination="10.0.0.12",
    sport=40000,
    dport=443,
    mark=3,
    timeout_s=1000,
    replied=True,
    assured=True,
    tcp_state=3,
)
FLOWS = (
    FLOW,
    Flow(zone=7, protocol=17, source="2001:db8::11", destination="2001:db8::12", sport=53, dport=53, timeout_s=100),
    Flow(zone=7, protocol=1, source="10.0.0.11", destination="10.0.0.12", icmp_id=77, icmp_type=8, mark=1, timeout_s=90),
    Flow(zone=7, protocol=58, source="2001:db8::11", destination="2001:db8::12", icmp_id=7, icmp_type=128, timeout_s=90),
    Flow(zone=7, protocol=47, source="10.0.0.11", destination="10.0.0.12", timeout_s=90, replied=True),
)
VPC: tuple[KernelObject, ...] = (
    *TABLES,
    *(Rule(version=version, priority=VRF_PRIORITY) for version in (4, 6)),  # else the kernel makes them
    VRF,
    AdminUp(vni=VNI, ifname="vrf5000"),
    LAST_ROUTE,
    VXLAN,
    VETH,
    TAP_PORT,
    Gro(vni=VNI, ifname="vx5000", on=False),
    *device_sysctls(VXLAN_V4, "vx5000", VNI),
    *device_sysctls(PORT_V4, PORT, VNI),
    *device_sysctls(PORT_V4, TAP, VNI),
    *chains.POLICY,
    CHAIN,
    *ELEMENTS,
    *chains.verdicts(PORT),
    ZONE,
    ADDRESS,
    AdminUp(vni=VNI, ifname="vx5000"),
    AdminUp(vni=VNI, ifname=PORT),
    AdminUp(vni=VNI, ifname=TAP),
    NEIGHBOUR,
    FDB,
    PORT_ROUTE,
    REMOTE_ROUTE,
)


class Stand(Protocol):
    """A kernel under test, and another program on the same host."""

    kernel: Kernel

    def foreigner_deletes(self, obj: KernelObject) -> None:
        """Let somebody else remove an object of ours."""
        ...

    def foreigner_switches(self, gro: Gro) -> None:
        """Let somebody else switch a device's GRO."""
        ...

    def foreigner_makes_route(self, route: Route) -> None:
        """Let somebody else make a route."""
        ...

    def foreigner_has_route(self, route: Route) -> bool:
        """Return whether somebody else's route still stands."""
        ...


class FakeStand:
    """The fake, disturbed."""

    def __init__(self) -> None:
        self.fake = FakeKernel()
        self.kernel: Kernel = self.fake

    def foreigner_deletes(self, obj: KernelObject) -> None:
        self.fake.disturb(Delete(obj))

    def foreigner_switches(self, gro: Gro) -> None:
        self.fake.disturb(Create(gro))

    def foreigner_makes_route(self, route: Route) -> None:
        self.fake.foreign[route.key] = route

    def foreigner_has_route(self, route: Route) -> bool:
        return route.key in self.fake.foreign


class LinuxStand:
    """A LinuxKernel in namespaces of its own, and an operator with ip(8), bridge(8) and nft(8)."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def foreigner_deletes(self, obj: KernelObject) -> None:
        match obj:
            case Link():
                self._run("ip", "link", "del", obj.ifname)
            case AdminUp():
                self._run("ip", "link", "set", obj.ifname, "down")
            case Route():
                self._run("ip", "route", "del", obj.dst, "table", str(obj.table))
            case Neighbour():
                self._run("ip", "neigh", "del", obj.dst, "dev", obj.ifname)
            case Fdb():
                self._run("bridge", "fdb", "del", obj.lladdr, "dev", obj.ifname, "dst", obj.dst, "self")
            case Address():
                self._run("ip", "addr", "del", obj.address, "dev", obj.ifname)
            case NftElement():
                self._run("nft", f"delete element {obj.family} netorch {obj.set} {{ {' . '.join(obj.items)} }}")
            case PortChain():
                self._run("nft", f"flush chain netdev netorch {obj.ifname}; delete chain netdev netorch {obj.ifname}")
            case NftTable():
                self._run("nft", f"delete table {obj.family} netorch")
            case _:
                raise AssertionError(obj)

    def foreigner_switches(self, gro: Gro) -> None:
        descriptor = netns.find(fabric_netns(HOST))
        assert ethtool.apply(descriptor, [Create(gro)]) == []
        os.close(descriptor)

    def foreigner_makes_route(self, route: Route) -> None:
        self._run("ip", "route", "add", "unreachable", route.dst, "table", str(route.table), "metric", str(route.metric))

    def foreigner_has_route(self, route: Route) -> bool:
        return route.dst in self._run("ip", "route", "show", "table", str(route.table))

    def _run(self, *words: str) -> str:
        command = ["ip", "netns", "exec", fabric_netns(HOST), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    if request.param == "fake":
        fake = FakeStand()
        yield fake
        fake.kernel.close()
        return
    from tests.rig.hosts import host

    with host(HOST) as kernel:
        yield LinuxStand(kernel)
        netns.remove(INSTANCE)


def create(kernel: Kernel, *objects: KernelObject) -> None:
    assert [str(failure.error) for failure in kernel.apply([Create(obj) for obj in objects])] == []


def by_key(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def missing(kernel: Kernel, *wanted: KernelObject) -> list[Op]:
    """Return what would have to be done for `wanted` to be there; that there may be more does not count."""
    found = kernel.dump()
    return diff(by_key(*wanted), {obj.key: found[obj.key] for obj in wanted if obj.key in found})


def there(kernel: Kernel, obj: KernelObject) -> bool:
    return obj.key in kernel.dump()


def refusals(kernel: Kernel, *ops: Op) -> list[tuple[KernelObject, int]]:
    return [(failure.op.obj, failure.error.errno) for failure in kernel.apply(ops)]


def events_of(kernel: Kernel, within_s: float = 2.0) -> list[KernelEvent]:
    """Return the events that come, waiting for the first."""
    select.select([kernel.fileno()], [], [], within_s)
    return kernel.events()


def test_a_dump_gives_back_what_was_applied(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert missing(stand.kernel, *VPC) == []


def test_nothing_of_ours_is_on_a_fresh_host(stand: Stand) -> None:
    assert [obj for obj in stand.kernel.dump().values() if not isinstance(obj, Sysctl)] == []


def test_creating_again_what_is_there_is_no_error(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    create(stand.kernel, *VPC)
    assert missing(stand.kernel, *VPC) == []


def test_deleting_everything_leaves_nothing(stand: Stand) -> None:
    before = stand.kernel.dump()
    create(stand.kernel, *VPC)
    ops = diff({}, by_key(*VPC))
    assert stand.kernel.apply(ops) == []
    left = {key: obj for key, obj in stand.kernel.dump().items() if not isinstance(obj, Rule)}
    assert left == before  # the kernel makes the VRFs' rules, too, and keeps them


def test_deleting_what_is_gone_is_no_error(stand: Stand) -> None:
    assert stand.kernel.apply([Delete(obj) for obj in reversed(VPC) if not isinstance(obj, Sysctl)]) == []


ORPHANS: tuple[tuple[KernelObject, int], ...] = (
    (VXLAN, errno.ENODEV),
    (VETH, errno.ENODEV),
    (TAP_PORT, errno.ENODEV),
    (PORT_ROUTE, errno.ENODEV),
    (REMOTE_ROUTE, errno.ENODEV),
    (NEIGHBOUR, errno.ENODEV),
    (FDB, errno.ENODEV),
    (ADDRESS, errno.ENODEV),
    (Gro(vni=VNI, ifname="vx5000", on=False), errno.ENODEV),
    (AdminUp(vni=VNI, ifname="vx5000"), errno.ENODEV),
    (CHAIN, errno.ENOENT),
    (ELEMENTS[0], errno.ENOENT),
    (ELEMENTS[2], errno.ENOENT),
    (chains.MAPS[0], errno.ENOENT),
    (chains.ACL_CHAIN, errno.ENOENT),
    (chains.PEERS[0], errno.ENOENT),
)


@pytest.mark.parametrize(("orphan", "number"), ORPHANS, ids=lambda value: "-".join(map(str, getattr(value, "key", ("",))[:2])))
def test_a_child_without_its_parent_is_refused(stand: Stand, orphan: KernelObject, number: int) -> None:
    assert refusals(stand.kernel, Create(orphan)) == [(orphan, number)]
    left = stand.kernel.dump().get(orphan.key)
    assert left is None or isinstance(left, IncompleteLink)


def test_one_refused_operation_does_not_stop_the_others(stand: Stand) -> None:
    stray = Route(vni=VNI, table=VNI, dst="10.0.0.99/32", ifname="vx6000", via="192.0.2.12")
    homeless = msgspec.structs.replace(ELEMENTS[0], set="nowhere")
    objects = list(VPC)
    objects.insert(objects.index(ELEMENTS[1]), homeless)
    objects.insert(objects.index(REMOTE_ROUTE), stray)
    assert refusals(stand.kernel, *map(Create, objects)) == [(homeless, errno.ENOENT), (stray, errno.ENODEV)]
    assert missing(stand.kernel, *VPC) == []


def test_a_route_through_a_device_that_is_down_is_refused(stand: Stand) -> None:
    create(stand.kernel, VRF, VXLAN)
    assert refusals(stand.kernel, Create(REMOTE_ROUTE)) == [(REMOTE_ROUTE, errno.ENETDOWN)]


def test_a_vni_belongs_to_one_device(stand: Stand) -> None:
    create(stand.kernel, VRF, VXLAN)
    second = msgspec.structs.replace(VXLAN, ifname="vx6000")
    assert refusals(stand.kernel, Create(second)) == [(second, errno.EEXIST)]


def test_a_device_of_another_kind_stands_in_the_way(stand: Stand) -> None:
    create(stand.kernel, VRF)
    other = msgspec.structs.replace(VRF, table=VNI + 1)
    assert refusals(stand.kernel, Create(other)) == [(other, errno.EEXIST)]
    assert missing(stand.kernel, VRF) == []


def test_somebody_elses_route_is_neither_seen_nor_replaced(stand: Stand) -> None:
    create(stand.kernel, VRF, AdminUp(vni=VNI, ifname="vrf5000"))
    theirs = Route(vni=VNI, table=VNI, dst="10.9.0.0/16", type=UNREACHABLE, metric=77)
    stand.foreigner_makes_route(theirs)
    assert not there(stand.kernel, theirs)
    assert refusals(stand.kernel, Create(theirs)) == [(theirs, errno.EEXIST)]
    assert stand.foreigner_has_route(theirs)


CHANGES: tuple[tuple[KernelObject, KernelObject], ...] = (
    (REMOTE_ROUTE, msgspec.structs.replace(REMOTE_ROUTE, via="192.0.2.13")),
    (REMOTE_ROUTE, msgspec.structs.replace(REMOTE_ROUTE, via="", ifname=PORT)),
    (NEIGHBOUR, msgspec.structs.replace(NEIGHBOUR, lladdr="02:4e:c0:00:02:0d")),
    (FDB, msgspec.structs.replace(FDB, dst="192.0.2.13")),
    (VXLAN, msgspec.structs.replace(VXLAN, mtu=1400)),
    (VXLAN, msgspec.structs.replace(VXLAN, group=7)),
    (VETH, msgspec.structs.replace(VETH, mtu=1400)),
    (CHAIN, nftgen.port_chain(VNI, PORT, MAC, "10.0.0.12", ())),
    (chains.PEERS[0], msgspec.structs.replace(chains.PEERS[0], value="0x7")),
    (chains.ACL_CHAIN, msgspec.structs.replace(chains.ACL_CHAIN, sets=chains.chain_sets(chains.ACL, "net4", "net6", "port4"))),
    (chains.BORDER_CHAIN, msgspec.structs.replace(chains.BORDER_CHAIN, rules=(f"goto {chains.SEND}",))),
    (TABLES[0], msgspec.structs.replace(TABLES[0], body=TABLES[0].body + "counter extra {\n}\n")),
)


@pytest.mark.parametrize(("old", "new"), CHANGES, ids=lambda obj: str(obj.key[0]))
def test_a_replaced_object_leaves_the_others_as_they_are(stand: Stand, old: KernelObject, new: KernelObject) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Replace(old, new)]) == []
    assert missing(stand.kernel, *(new if obj == old else obj for obj in VPC)) == []


def test_a_replaced_table_keeps_what_it_holds(stand: Stand) -> None:
    create(stand.kernel, VRF, VETH, *TABLES, CHAIN, *ELEMENTS)
    for table in TABLES:
        newer = msgspec.structs.replace(table, body=table.body + "counter extra {\n}\n")
        assert stand.kernel.apply([Replace(table, newer)]) == []
    found = stand.kernel.dump_nft()
    assert {key: obj for key, obj in found.items() if not isinstance(obj, NftTable)} == by_key(CHAIN, *ELEMENTS)


def test_a_replaced_table_keeps_the_policies_of_vpcs(stand: Stand) -> None:
    create(stand.kernel, *TABLES, *chains.POLICY, *chains.verdicts(PORT), ZONE)
    newer = msgspec.structs.replace(TABLES[1], body=TABLES[1].body + "counter extra {\n}\n")
    assert stand.kernel.apply([Replace(TABLES[1], newer)]) == []
    assert missing(stand.kernel, newer, *chains.POLICY, *chains.verdicts(PORT), ZONE) == []


def test_what_leads_nowhere_is_refused(stand: Stand) -> None:
    pit = msgspec.structs.replace(chains.verdicts(PORT)[0], value="goto nowhere")
    blind = NftChain(vni=VNI, name="acl-001388-00000000002-out", rules=("ip daddr @nowhere accept",))
    create(stand.kernel, *TABLES)
    assert refusals(stand.kernel, Create(chains.BORDER_CHAIN)) == [(chains.BORDER_CHAIN, errno.ENOENT)]
    assert refusals(stand.kernel, Create(blind)) == [(blind, errno.ENOENT)]
    assert refusals(stand.kernel, Create(pit)) == [(pit, errno.ENOENT)]
    assert not any(there(stand.kernel, obj) for obj in (chains.BORDER_CHAIN, blind, pit))


def test_what_something_leads_to_is_not_deleted(stand: Stand) -> None:
    create(stand.kernel, *TABLES, *chains.POLICY, *chains.verdicts(PORT))
    for used in (chains.MAPS[0], chains.ACL_CHAIN, chains.TAKE_CHAIN):
        assert refusals(stand.kernel, Delete(used)) == [(used, errno.EBUSY)]
    assert missing(stand.kernel, *TABLES, *chains.POLICY, *chains.verdicts(PORT)) == []


def test_a_deleted_map_takes_along_its_elements(stand: Stand) -> None:
    create(stand.kernel, *TABLES, chains.MAPS[0], chains.PEERS[0])
    assert stand.kernel.apply([Delete(chains.MAPS[0])]) == []
    assert not there(stand.kernel, chains.PEERS[0])


def steady(flows: Iterable[Flow]) -> set[Flow]:
    """Return connections without the time that they have left, which passes."""
    return {msgspec.structs.replace(flow, timeout_s=0) for flow in flows}


def test_restored_connections_are_known_and_forgotten_ones_are_not(stand: Stand) -> None:
    stranger = msgspec.structs.replace(FLOW, zone=8)
    stand.kernel.restore_flows([*FLOWS, stranger])
    stand.kernel.restore_flows([FLOW])
    assert steady(stand.kernel.flows(7)) == steady(FLOWS)
    stand.kernel.forget_flows(FLOWS[1:])
    stand.kernel.forget_flows(FLOWS[1:])
    assert steady(stand.kernel.flows(7)) == steady([FLOW])
    assert steady(stand.kernel.flows(8)) == steady([stranger])


def test_connections_are_told_by_the_addresses_that_are_their_ends(stand: Stand) -> None:
    elsewhere = msgspec.structs.replace(FLOW, zone=8)
    others = [msgspec.structs.replace(flow, source=flow.source + "0", destination=flow.destination + "0") for flow in FLOWS]
    stand.kernel.restore_flows([*FLOWS, *others, elsewhere])
    for ends in (["10.0.0.11"], ["10.0.0.12"], ["10.0.0.11", "10.0.0.12"]):
        assert steady(stand.kernel.flows(7, ends)) == steady(flow for flow in FLOWS if ":" not in flow.source)
        assert len(stand.kernel.flows(7, ends)) == 3  # each once
    assert steady(stand.kernel.flows(7, ["2001:db8::12"])) == steady(flow for flow in FLOWS if ":" in flow.source)
    assert steady(stand.kernel.flows(7, ["10.0.0.12", "2001:db8::11"])) == steady(FLOWS)
    many = [f"10.9.9.{number}" for number in range(20)]
    assert steady(stand.kernel.flows(7, [*many, "10.0.0.110"])) == steady(flow for flow in others if ":" not in flow.source)
    assert steady(stand.kernel.flows(8, ["10.0.0.12"])) == steady([elsewhere])
    assert stand.kernel.flows(7, []) == stand.kernel.flows(7, many) == ()


def test_a_connection_that_is_known_already_stays_as_it_is(stand: Stand) -> None:
    stand.kernel.restore_flows([FLOW])
    stand.kernel.restore_flows([msgspec.structs.replace(FLOW, mark=0, timeout_s=1, tcp_state=1)])
    assert steady(stand.kernel.flows(7)) == steady([FLOW])


def test_a_connection_that_is_known_already_learns_who_tracks_it(stand: Stand) -> None:
    for mark in (BEGINNER_TRACKS, OTHER_END_TRACKS):
        stand.kernel.restore_flows([msgspec.structs.replace(FLOW, mark=mark)])
    assert steady(stand.kernel.flows(7)) == steady([msgspec.structs.replace(FLOW, mark=BEGINNER_TRACKS | OTHER_END_TRACKS)])


def test_zones_are_counted_and_a_full_table_is_told(stand: Stand) -> None:
    before = stand.kernel.table_use()
    elsewhere = msgspec.structs.replace(FLOW, zone=8)
    stand.kernel.restore_flows([*FLOWS, elsewhere])
    assert stand.kernel.table_use().held == before.held + len(FLOWS) + 1
    assert stand.kernel.table_use().most == before.most > 1000
    assert stand.kernel.sample_zones(100) == {7: len(FLOWS), 8: 1}
    assert sum(stand.kernel.sample_zones(3).values()) == 3


def test_zones_are_refused_in_place_of_those_that_were(stand: Stand) -> None:
    assert stand.kernel.refused_zones() == frozenset()  # without a table
    with pytest.raises(KernelError):
        stand.kernel.refuse_zones({7})
    create(stand.kernel, *TABLES)
    assert stand.kernel.refused_zones() == frozenset()
    for zones in ({7, 0x1234}, {7}, {7, 8}, set(), set(range(1, 1001))):
        stand.kernel.refuse_zones(zones)
        assert stand.kernel.refused_zones() == zones


def test_a_refused_zone_is_no_object_and_no_drift(stand: Stand) -> None:
    create(stand.kernel, *TABLES, ZONE)
    dumped = stand.kernel.dump()
    stand.kernel.events()
    stand.kernel.refuse_zones({7})
    assert stand.kernel.dump() == dumped
    assert missing(stand.kernel, *TABLES) == []
    assert stand.kernel.events() == []


def test_a_zone_that_is_given_back_is_forgotten(stand: Stand) -> None:
    stranger = msgspec.structs.replace(FLOW, zone=8)
    create(stand.kernel, *TABLES, ZONE, chains.element("zone", PORT, value="0x7"))
    stand.kernel.restore_flows([*FLOWS, stranger])
    assert stand.kernel.apply([Delete(chains.element("zone", PORT, value="0x7"))]) == []
    assert len(stand.kernel.flows(7)) == len(FLOWS)
    assert stand.kernel.apply([Delete(ZONE)]) == []
    assert stand.kernel.flows(7) == ()
    assert steady(stand.kernel.flows(8)) == steady([stranger])


def test_a_deleted_table_takes_along_what_it_holds(stand: Stand) -> None:
    create(stand.kernel, VRF, VETH, *TABLES, CHAIN, *ELEMENTS)
    assert stand.kernel.apply([Delete(table) for table in TABLES]) == []
    assert stand.kernel.dump_nft() == {}


def test_a_device_takes_its_own_things_along(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Delete(VXLAN)]) == []
    found = stand.kernel.dump()
    assert not [obj for obj in found.values() if getattr(obj, "ifname", "") == "vx5000"]
    survivors = [obj for obj in VPC if getattr(obj, "ifname", "") != "vx5000"]
    assert missing(stand.kernel, *survivors) == []


def test_a_port_that_is_made_again_has_no_chain_yet(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Delete(VETH), Create(VETH)]) == []
    assert not there(stand.kernel, CHAIN)
    assert stand.kernel.apply(missing(stand.kernel, *VPC)) == []
    assert missing(stand.kernel, *VPC) == []


def test_a_device_that_goes_down_loses_routes_and_neighbours(stand: Stand) -> None:
    ipv6 = Route(vni=VNI, table=VNI, dst="2001:db8::12/128", ifname="vx5000", via="fe80::c000:20c", metric=IPV6_METRIC)
    create(stand.kernel, *VPC, Sysctl(vni=VNI, path="ipv6/conf/vx5000/disable_ipv6", value="0", ifname="vx5000"), ipv6)
    assert stand.kernel.apply([Delete(AdminUp(vni=VNI, ifname="vx5000"))]) == []
    lost = (REMOTE_ROUTE, ipv6, NEIGHBOUR, AdminUp(vni=VNI, ifname="vx5000"))
    assert [obj for obj in lost if there(stand.kernel, obj)] == []
    assert missing(stand.kernel, *(obj for obj in VPC if obj not in lost)) == []


def test_a_vrf_leaves_its_members_behind_without_their_routes(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Delete(VRF)]) == []
    found = stand.kernel.dump()
    assert found[VXLAN.key] == msgspec.structs.replace(VXLAN, vrf="")
    assert REMOTE_ROUTE.key not in found
    assert PORT_ROUTE.key not in found
    assert FDB.key in found


@pytest.mark.parametrize(
    "victim",
    [REMOTE_ROUTE, NEIGHBOUR, FDB, ADDRESS, VXLAN, TAP_PORT, AdminUp(vni=VNI, ifname=TAP)],
    ids=lambda obj: str(obj.key[:2]),
)
def test_what_somebody_else_deletes_is_an_event_and_comes_back(stand: Stand, victim: KernelObject) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    stand.foreigner_deletes(victim)
    assert {Gone(victim.key, victim.vni), Lost("all")} & set(events_of(stand.kernel))
    ops = missing(stand.kernel, *VPC)
    assert Create(victim) in ops
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *VPC) == []


def test_an_offload_that_somebody_switches_is_an_event_and_switched_back(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    on, off = Gro(vni=VNI, ifname="vx5000", on=True), Gro(vni=VNI, ifname="vx5000", on=False)
    stand.foreigner_switches(on)
    assert Seen(on) in events_of(stand.kernel)
    assert missing(stand.kernel, *VPC) == [Replace(on, off)]
    assert stand.kernel.apply([Replace(on, off)]) == []
    assert missing(stand.kernel, *VPC) == []


@pytest.mark.parametrize("victim", [ELEMENTS[0], CHAIN, chains.PEERS[0], TABLES[1], TABLES[2]], ids=lambda obj: str(obj.key[:4]))
def test_what_somebody_else_does_to_a_table_is_an_event_and_mended(stand: Stand, victim: KernelObject) -> None:
    create(stand.kernel, *VPC)
    stand.kernel.events()
    stand.foreigner_deletes(victim)
    assert Lost("nft") in events_of(stand.kernel)
    assert stand.kernel.apply(missing(stand.kernel, *VPC)) == []
    assert missing(stand.kernel, *VPC) == []


def test_our_own_changes_are_no_news(stand: Stand) -> None:
    """Linux does not say who deleted a neighbour; that what we deleted is gone may be told again."""
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Replace(REMOTE_ROUTE, msgspec.structs.replace(REMOTE_ROUTE, via="192.0.2.13"))]) == []
    deleted = (TAP_PORT, ELEMENTS[0], REMOTE_ROUTE, NEIGHBOUR, FDB)
    assert stand.kernel.apply([Delete(obj) for obj in deleted]) == []
    assert set(events_of(stand.kernel, within_s=0.2)) <= {Gone(obj.key, obj.vni) for obj in deleted}


def test_nobody_asks_for_half_a_device(stand: Stand) -> None:
    half = IncompleteLink(vni=VNI, ifname="vx5000")
    assert refusals(stand.kernel, Create(half)) == [(half, errno.EINVAL)]
