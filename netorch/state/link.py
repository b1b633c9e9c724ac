"""Devices: VRF, VXLAN, ports, cables, uplinks; their up state, GRO and other settings; sysctls."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from netorch.state.base import OUTSIDE, OVERLAY, KernelObject, Key, OnDevice, link_key, namespace_key, up_key
from netorch.state.names import vrf_name, vrf_table
from netorch.state.order import Order

CONNTRACK: Final = "netfilter/nf_conntrack"  # the paths of connection tracking's sysctls start with this
LOOPBACK: Final = "lo"  # the kernel attaches `unreachable` IPv6 routes to it, and deletes them when it goes down
VXLAN_PORT = 4789  # RFC 7348 section 5
VXLAN_GROUP: Final = 0x4E540000  # of netorch's VXLAN devices, so that a firewall can match them by number; unique to them
PEERING_GROUP: Final = 0x4E540002  # of netorch's ends of cables between peers, likewise
OUTSIDE_GROUP: Final = 0x4E540003  # of the ends of cables in the outside namespace, likewise


class Link(KernelObject, frozen=True, kw_only=True):
    """A device."""

    kind: ClassVar[str] = "link"
    has_children: ClassVar[bool] = True

    ifname: str

    @property
    def key(self) -> Key:
        return link_key(self.ifname, self.netns)


class IncompleteLink(Link, frozen=True, kw_only=True):
    """A device with a netorch name but without its mark, found in the overlay. Never wanted.

    Its creation was interrupted, its mark was removed, or it is foreign. `seems` is the netorch device that it would be
    with the mark, if any: then it is completed in place instead of being recreated.
    """

    order: ClassVar[int] = Order.PORT

    seems: Link | None = None

    @property
    def needs(self) -> Key | None:
        return self.seems.needs if self.seems is not None else None

    def text(self) -> str:
        return f"link {self.ifname} incomplete"


def finishes(wanted: Link, actual: KernelObject) -> bool:
    """Return whether `actual` only lacks its mark, and otherwise matches or can become the wanted device."""
    seems = actual.seems if isinstance(actual, IncompleteLink) else None
    return seems is not None and (wanted.matches(seems) or wanted.replaces(seems))


class Vrf(Link, frozen=True, kw_only=True):
    """A VRF device, for one route table of a VPC. Source: Documentation/networking/vrf.rst."""

    order: ClassVar[int] = Order.VRF

    table: int

    def replaces(self, actual: KernelObject) -> bool:
        return finishes(self, actual)

    def text(self) -> str:
        return f"link {self.ifname} type vrf table {self.table}"


def vrf_of(vni: int, number: int = 0) -> Vrf:
    """Return the VRF of a VPC's route table with this number; 0 is the main one."""
    return Vrf(vni=vni, ifname=vrf_name(vni, number), table=vrf_table(vni, number))


class Member(Link, frozen=True, kw_only=True):
    """A device in a VRF, or in none. It outlives the VRF, but loses the routes through it."""

    lladdr: str
    mtu: int
    vrf: str

    @property
    def parent(self) -> Key | None:
        return link_key(self.vrf, self.netns) if self.vrf else namespace_key(self.netns)

    @property
    def orphan(self) -> KernelObject | None:
        return msgspec.structs.replace(self, vrf="") if self.vrf else None


class Vxlan(Member, frozen=True, kw_only=True):
    """A VXLAN device without learning, enslaved to its VRF. Its UDP socket is in the underlay namespace.

    `vni` is also the VXLAN's VNI, `lladdr` the host's router MAC, `mtu` the largest inner IP packet in bytes.
    """

    order: ClassVar[int] = Order.VXLAN

    local: str  # the VTEP
    group: int = VXLAN_GROUP

    def replaces(self, actual: KernelObject) -> bool:
        if isinstance(actual, Vxlan):
            return (actual.vni, actual.local) == (self.vni, self.local)
        return finishes(self, actual)

    def text(self) -> str:
        common = f"address {self.lladdr} mtu {self.mtu} group {self.group:#x} master {self.vrf or 'none'}"
        return f"link {self.ifname} type vxlan id {self.vni} local {self.local} {common}"


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of the instance's side. The agent sets it when it plugs the port; later it is the customer's."""

    ifname: str
    lladdr: str
    addresses: tuple[str, ...]  # with prefix length
    gateways: tuple[str, ...]  # its routers, one for each IP version of its addresses
    is_primary: bool = True  # its routers are the instance's default ones; a secondary interface's serve only its own addresses

    def text(self) -> str:
        """Return it in the syntax of ip(8)."""
        noun = "gateway" if self.is_primary else "router"
        words = [f"peer {self.ifname} address {self.lladdr}", *self.addresses, *(f"{noun} {each}" for each in self.gateways)]
        return " ".join(words)


class VethPort(Member, frozen=True, kw_only=True):
    """A veth pair: netorch's end in the VRF, the other one in the instance's namespace.

    `instance_netns` is a name in /run/netns or an absolute path. With `make_netns`, the agent creates the namespace if
    it is absent, and owns it. A port of another host's overlay is taken over only if its label has the same instance
    and MAC; the compiler yields a port only where its mapping leads. The kernel's dump has ifname, lladdr, mtu, vrf
    and, from the label, the instance and whether netorch created the namespace. The other fields matter only when the
    port is plugged.
    """

    order: ClassVar[int] = Order.PORT

    instance_netns: str
    make_netns: bool
    inside: Inside
    instance: str = ""  # the instance's id; empty: the name of its namespace, which is that id if netorch created it

    @property
    def holder(self) -> str:
        """Return the instance of this port."""
        return self.instance or self.instance_netns

    def same_place(self, other: KernelObject) -> bool:
        """Return whether another port leads to the same instance, and whether both agree on `make_netns`."""
        return isinstance(other, VethPort) and (other.holder, other.make_netns) == (self.holder, self.make_netns)

    def matches(self, actual: KernelObject) -> bool:
        if not isinstance(actual, VethPort) or not self.same_place(actual):
            return False
        return (actual.lladdr, actual.mtu, actual.vrf) == (self.lladdr, self.mtu, self.vrf)

    def replaces(self, actual: KernelObject) -> bool:
        return isinstance(actual, VethPort) or finishes(self, actual)

    def text(self) -> str:
        common = f"address {self.lladdr} mtu {self.mtu} master {self.vrf or 'none'}"
        return f"link {self.ifname} type veth {common} netns {self.instance_netns} {self.inside.text()}"


class TapPort(Member, frozen=True, kw_only=True):
    """A persistent tap device for a virtual machine's network card."""

    order: ClassVar[int] = Order.PORT

    def replaces(self, actual: KernelObject) -> bool:
        return isinstance(actual, TapPort) or finishes(self, actual)

    def text(self) -> str:
        return f"link {self.ifname} type tap address {self.lladdr} mtu {self.mtu} master {self.vrf or 'none'}"


class CableEnd(Member, frozen=True, kw_only=True):
    """One end of a cable: a veth pair with both ends in netorch's namespaces, e.g. each in a VRF of the overlay.

    Linux creates and deletes both ends together. Creating the first end brings the other one, which is incomplete until
    it is wanted itself. The ends are two objects, because they may belong to two VPCs. `group` is VXLAN_GROUP if
    packets that leave by this end go to a receiver that is not a port of this host's VPC; PEERING_GROUP if the receiver
    is a peer's.
    """

    order: ClassVar[int] = Order.CABLE

    peer: str  # the name of the other end
    peer_netns: str = OVERLAY
    group: int = 0

    @property
    def needs(self) -> Key | None:
        return link_key(self.peer, self.peer_netns)

    def replaces(self, actual: KernelObject) -> bool:
        if isinstance(actual, CableEnd):
            return (actual.peer, actual.peer_netns) == (self.peer, self.peer_netns)
        return finishes(self, actual)

    def text(self) -> str:
        common = f"address {self.lladdr} mtu {self.mtu} group {self.group:#x} master {self.vrf or 'none'}"
        netns = f" netns {self.peer_netns}" if self.peer_netns != self.netns else ""
        return f"link {self.ifname} type veth {common} peer {self.peer}{netns}"


class Uplink(Link, frozen=True, kw_only=True):
    """A device of the host that is moved from the underlay to the outside, and back when it is no longer wanted.

    The operator's MAC and MTU stay. The move loses its addresses and routes in the underlay.
    """

    order: ClassVar[int] = Order.UPLINK

    netns: str = OUTSIDE
    port: bool = False  # whether it is a port of Direct Connect, for which only its own objects wait; unknown to the kernel

    @property
    def is_waited_for(self) -> bool:
        return not self.port

    def matches(self, actual: KernelObject) -> bool:
        return isinstance(actual, Uplink) and actual.key == self.key

    def replaces(self, actual: KernelObject) -> bool:
        return finishes(self, actual)

    def text(self) -> str:
        return f"link {self.ifname} from the underlay"


class AdminUp(OnDevice, frozen=True, kw_only=True):
    """A device's up state. Separate from the device, so that all its protection is applied before."""

    kind: ClassVar[str] = "up"
    is_up_state: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        return up_key(self.ifname, self.netns)

    @property
    def parent(self) -> Key | None:
        # Each namespace starts with a loopback.
        return namespace_key(self.netns) if self.ifname == LOOPBACK else link_key(self.ifname, self.netns)

    @property
    def order(self) -> int:
        return Order.VRF_UP if self.ifname == LOOPBACK or self.ifname.startswith("vrf") else Order.UP

    def text(self) -> str:
        return f"link {self.ifname} up"


class Gro(OnDevice, frozen=True, kw_only=True):
    """Whether a device merges packets of one stream before routing (generic receive offload).

    Deletion is a no-op: the setting is deleted with the device.
    """

    kind: ClassVar[str] = "gro"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.DEVICE_SYSCTL

    on: bool

    @property
    def key(self) -> Key:
        return ("gro", self.netns, self.ifname)

    def text(self) -> str:
        return f"link {self.ifname} gro {'on' if self.on else 'off'}"


class Deviation(msgspec.Struct, frozen=True):
    """A device's wrong setting: a word of ip-link(8), or a path below /proc/sys/net."""

    setting: str
    found: str
    wanted: str


class Settings(OnDevice, frozen=True, kw_only=True):
    """All other settings of a device that packets depend on: its flags, tunnel parameters and inherited sysctls.

    A new device has correct settings, so only deviations are listed: a device costs one small object, however many
    settings there are. The wanted object has none. Creation and deletion are no-ops.
    """

    kind: ClassVar[str] = "settings"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.DEVICE_SYSCTL

    deviations: tuple[Deviation, ...] = ()

    @property
    def key(self) -> Key:
        return ("settings", self.netns, self.ifname)

    def text(self) -> str:
        return " ".join([f"settings of {self.ifname}:", *(f"{each.setting} {each.found}," for each in self.deviations)])


class Sysctl(OnDevice, frozen=True, kw_only=True):
    """A value below /proc/sys/net; `ifname` is set if it belongs to a device.

    Deletion is a no-op: a sysctl is deleted with its device or namespace.
    """

    kind: ClassVar[str] = "sysctl"
    in_place: ClassVar[bool] = True

    path: str  # e.g. ipv4/conf/v-001388abcdef0/proxy_arp
    value: str
    ifname: str = ""

    @property
    def key(self) -> Key:
        return ("sysctl", self.netns, self.path)

    @property
    def order(self) -> int:
        if self.ifname:
            return Order.DEVICE_SYSCTL
        return Order.CONNTRACK_SYSCTL if self.path.startswith(CONNTRACK) else Order.SYSCTL

    def text(self) -> str:
        return f"sysctl net.{self.path.replace('/', '.')} = {self.value}"
