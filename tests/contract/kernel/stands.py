"""What every Kernel must do: the same test bodies run against the fake and against Linux, so that tests can trust the fake."""

from __future__ import annotations

import select
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from edges import readiness
from netorch.drivers.base import Gone, Kernel, KernelEvent, Seen
from netorch.model.addr import parse_prefix
from netorch.plan.diff import diff
from netorch.state.base import KernelObject, Key
from netorch.state.flow import Flow
from netorch.state.l2 import Fdb
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, VRF_PRIORITY, Address, Neighbour, Route, Rule
from netorch.state.link import VXLAN_GROUP, AdminUp, CableEnd, Gro, Inside, TapPort, Uplink, VethPort, Vrf, Vxlan
from netorch.state.nft import Flowtable, FlowtableDevice, NftTable
from netorch.state.op import Create, Op, Reload
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.sysctls import PORT_V4, VXLAN_V4, device_sysctls
from netorch.state.tc import Clsact, Match, Receive, Redirect, StrangeFilter, TcFilter
from policy import nftgen, skeleton
from policy.tables.offload import PORT_GUARD, VXLAN_GUARD
from tests import chains

HOST = "contract"
UNDERLAY_NAME = f"u-{HOST}"  # name of the underlay namespace
VNI = 5000
PORT_MAC, MAC, ROUTER = "02:4e:54:ff:ff:01", "06:00:00:00:00:01", "02:4e:c0:00:02:0c"
STRAY = "somebodys"  # the name that another program gives a renamed device
PORT, TAP, INSTANCE = "v-0013880000001", "v-0013880000002", "i-00138800000000001"

VRF = Vrf(vni=VNI, ifname="vrf5000", table=VNI)
VXLAN = Vxlan(ifname="vx5000", vni=VNI, local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1500, vrf="vrf5000")
INSIDE = Inside(ifname="eth0", lladdr=MAC, addresses=("10.0.0.11/24",), gateways=("10.0.0.1",))
VETH = VethPort(
    vni=VNI, ifname=PORT, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000", instance_netns=INSTANCE, make_netns=True, inside=INSIDE
)
TAP_PORT = TapPort(vni=VNI, ifname=TAP, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000")
CABLE = (
    CableEnd(
        vni=VNI, ifname="p-0013880000001", lladdr=PORT_MAC, mtu=1500, vrf="vrf5000", peer="q-0013880000001", group=VXLAN_GROUP
    ),
    CableEnd(vni=VNI, ifname="q-0013880000001", lladdr=ROUTER, mtu=1400, vrf="vrf5000", peer="p-0013880000001"),
)
CLSACT = Clsact(vni=VNI, ifname="vx5000")
FILTER = TcFilter(
    vni=VNI, ifname="vx5000", step=10, match=Match(dst_mac=MAC), actions=(Receive(mark=7), Redirect(CABLE[0].ifname))
)
LAST_ROUTE = Route(vni=VNI, table=VNI, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
PORT_ROUTE = Route(vni=VNI, table=VNI, dst="10.0.0.11/32", ifname=PORT)
NEIGHBOUR = Neighbour(vni=VNI, ifname="vx5000", dst="192.0.2.12", lladdr=ROUTER)
FDB = Fdb(vni=VNI, ifname="vx5000", lladdr=ROUTER, dst="192.0.2.12")
REMOTE_ROUTE = Route(vni=VNI, table=VNI, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12")
ADDRESS = Address(vni=VNI, ifname="vrf5000", address="10.0.0.1/32")
TABLES = (skeleton.underlay_table(), *skeleton.overlay_tables())
OF_VPC = ("10.0.0.0/16", "10.16.0.0/20", "192.168.1.16/28", "10.9.9.9/32", "2001:db8::/56", "2001:db8:0:100::/60")
OUTSIDE_CHAIN = nftgen.outside_chain(VNI, map(parse_prefix, OF_VPC))
ELEMENTS = (
    nftgen.transit("vx5000", "10.0.0.11", VNI),
    nftgen.transit("vx5000", "2001:db8::11", VNI),
    nftgen.sender("senders", "192.0.2.12", VNI, "10.0.0.12"),
    nftgen.member("192.0.2.12", VNI),
    nftgen.speaker("192.0.2.12", VNI),
    nftgen.speaker("192.0.2.13", VNI, OUTSIDE_CHAIN.name),
    readiness.ready("192.0.2.11"),
)
CHAIN = nftgen.port_chain(VNI, PORT, MAC, "10.0.0.11", ("2001:db8::11", "::"))
ZONE = chains.element("zone", "vx5000", value="0x7")
FLOWTABLE = Flowtable(vni=VNI, name="flows-001388")
FLOWTABLE_DEVICES = tuple(
    FlowtableDevice(vni=VNI, ifname=ifname, flowtable=FLOWTABLE.name, guard=guard)
    for ifname, guard in (("vx5000", VXLAN_GUARD), (PORT, PORT_GUARD))
)
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
    *(Rule(version=version, priority=VRF_PRIORITY) for version in (4, 6)),  # otherwise the kernel makes them
    VRF,
    AdminUp(vni=VNI, ifname="vrf5000"),
    LAST_ROUTE,
    VXLAN,
    VETH,
    TAP_PORT,
    *CABLE,
    Gro(vni=VNI, ifname="vx5000", on=False),
    *device_sysctls(VXLAN_V4, "vx5000", VNI),
    *device_sysctls(PORT_V4, PORT, VNI),
    *device_sysctls(PORT_V4, TAP, VNI),
    *chains.POLICY,
    OUTSIDE_CHAIN,
    CHAIN,
    *ELEMENTS,
    *chains.verdicts(PORT),
    ZONE,
    FLOWTABLE,
    *FLOWTABLE_DEVICES,
    ADDRESS,
    AdminUp(vni=VNI, ifname="vx5000"),
    AdminUp(vni=VNI, ifname=PORT),
    AdminUp(vni=VNI, ifname=TAP),
    NEIGHBOUR,
    FDB,
    PORT_ROUTE,
    CLSACT,
    FILTER,
    REMOTE_ROUTE,
)


Movable = CableEnd | Xfrm | Vlan


class Stand(Protocol):
    """A kernel under test, and another program on the same host, whose actions are the foreigner_ methods."""

    kernel: Kernel

    def foreigner_deletes(self, obj: KernelObject) -> None:
        """Delete an object of the agent."""
        ...

    def foreigner_changes(self, obj: Movable) -> None:
        """Change a device of the agent into this one."""
        ...

    def foreigner_renames(self, obj: Movable) -> None:
        """Rename a device of the agent."""
        ...

    def foreigner_carries_off(self, obj: Xfrm | Vlan) -> None:
        """Move a device of the agent into another namespace."""
        ...

    def foreigner_makes(self, obj: Xfrm | Vlan) -> None:
        """Create such a device in the outside namespace, under another name."""
        ...

    def foreigner_has(self, obj: Xfrm | Vlan) -> bool:
        """Return whether the other program's device still exists."""
        ...

    def foreigner_takes_back(self, uplink: Uplink) -> None:
        """Move an uplink back to the underlay."""
        ...

    def foreigner_filters(self, theirs: StrangeFilter) -> None:
        """Put a filter that drops all IPv4 packets of a device in the place of this one."""
        ...

    def foreigner_switches(self, gro: Gro) -> None:
        """Switch the GRO of a device."""
        ...

    def foreigner_makes_route(self, route: Route) -> None:
        """Create a route."""
        ...

    def foreigner_has_route(self, route: Route) -> bool:
        """Return whether the other program's route still exists."""
        ...

    def foreigner_deletes_namespace(self, label: str) -> None:
        """Delete the name of a namespace; the namespace goes too, unless a process holds it."""
        ...

    def foreigner_unmarks(self, uplink: Uplink) -> None:
        """Remove netorch's mark from an uplink."""
        ...

    def host_gets(self, ifname: str, mtu: int = 1500) -> None:
        """Add a device to the underlay namespace."""
        ...

    def has_device(self, ifname: str) -> bool:
        """Return whether a device is in the underlay namespace, without netorch's mark."""
        ...

    def restarted(self) -> AbstractContextManager[Kernel]:
        """Return a second kernel object of the same host, without memory of the first."""
        ...


def create(kernel: Kernel, *objects: KernelObject) -> None:
    assert [str(failure.error) for failure in kernel.apply([Create(obj) for obj in objects])] == []


def with_more(table: NftTable, more: str) -> NftTable:
    """Return a table with more text."""
    return msgspec.structs.replace(table, body=table.body + more)


def reload(table: NftTable, more: str, contents: Iterable[KernelObject]) -> Reload:
    """Return the change of a table to one with more text, with those of the contents that are within it."""
    within = (obj for obj in contents if obj.within == table.key)
    return Reload(table, with_more(table, more), tuple(sorted(within, key=lambda obj: (obj.order, obj.key))))


def by_key(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def missing(kernel: Kernel, *wanted: KernelObject) -> list[Op]:
    """Return the operations that would create `wanted`; other objects are ignored."""
    found = kernel.dump()
    return diff(by_key(*wanted), {obj.key: found[obj.key] for obj in wanted if obj.key in found})


def there(kernel: Kernel, obj: KernelObject) -> bool:
    return obj.key in kernel.dump()


def refusals(kernel: Kernel, *ops: Op) -> list[tuple[KernelObject, int]]:
    return [(failure.op.obj, failure.error.errno) for failure in kernel.apply(ops)]


def events_of(kernel: Kernel, within_s: float = 2.0) -> list[KernelEvent]:
    """Return the events, after waiting for the first."""
    select.select([kernel.fileno()], [], [], within_s)
    return kernel.events()


def news(kernel: Kernel) -> list[KernelEvent]:
    """Return the events that differ from a dump. Linux may report late, for example, that a device has its carrier."""
    told = events_of(kernel, within_s=0.2)
    known = kernel.dump()
    return [event for event in told if not _is_known(event, known)]


def _is_known(event: KernelEvent, known: Mapping[Key, KernelObject]) -> bool:
    match event:
        case Seen(obj):
            return known.get(obj.key) == obj
        case Gone(key):
            return key not in known
        case _:
            return False
