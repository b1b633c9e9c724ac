"""Devices: VRF, VXLAN, ports, cables, uplinks; what is up and what gathers packets; sysctls of devices and of the namespace."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from netorch.state.base import OUTSIDE, OVERLAY, KernelObject, Key, OnDevice, link_key, namespace_key, up_key
from netorch.state.names import vrf_name, vrf_table
from netorch.state.order import Order

CONNTRACK: Final = "netfilter/nf_conntrack"  # the paths of connection tracking's sysctls begin so
LOOPBACK: Final = "lo"  # the kernel hangs `unreachable` IPv6 routes on it, and takes them away when it goes down
VXLAN_PORT = 4789  # RFC 7348 section 5
VXLAN_GROUP: Final = 0x4E540000  # of our VXLAN devices, so that a firewall knows them by a number; nobody else's has this one
PEERING_GROUP: Final = 0x4E540002  # of our ends of cables between peers, likewise
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
    """A device with a name of ours but without our mark, found in the overlay. Never asked for.

    Making it was cut short, the mark was taken away, or somebody else made it. `seems` is what it would be with the mark, if that
    is something of ours: then it is finished in place instead of being made again.
    """

    order: ClassVar[int] = Order.PORT

    seems: Link | None = None

    @property
    def needs(self) -> Key | None:
        return self.seems.needs if self.seems is not None else None

    def text(self) -> str:
        return f"link {self.ifname} incomplete"


def finishes(wanted: Link, actual: KernelObject) -> bool:
    """Return whether `actual` lacks its mark, and otherwise is or can become what is wanted."""
    seems = actual.seems if isinstance(actual, IncompleteLink) else None
    return seems is not None and (wanted.matches(seems) or wanted.replaces(seems))


class Vrf(Link, frozen=True, kw_only=True):
    """A VRF device: the routing table of one of a VPC's route tables. Source: Documentation/networking/vrf.rst."""

    order: ClassVar[int] = Order.VRF

    table: int

    def replaces(self, actual: KernelObject) -> bool:
        return finishes(self, actual)

    def text(self) -> str:
        return f"link {self.ifname} type vrf table {self.table}"


def vrf_of(vni: int, number: int = 0) -> Vrf:
    """Return the VRF of a VPC's route table of that number; 0 is the main one."""
    return Vrf(vni=vni, ifname=vrf_name(vni, number), table=vrf_table(vni, number))


class Member(Link, frozen=True, kw_only=True):
    """A device in a VRF, or in none. It outlives the VRF, without the routes that led to it."""

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
    """A VXLAN device without learning, enslaved to its VRF; its UDP socket lives in the underlay namespace.

    `vni` is the VXLAN's own as well, `lladdr` the host's router MAC, `mtu` the largest inner IP packet in bytes.
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
    """What the instance finds on its side; set when the port is plugged, the customer's own affair afterwards."""

    ifname: str
    lladdr: str
    addresses: tuple[str, ...]  # with prefix length
    gateways: tuple[str, ...]  # its routers, one for each IP version that it has an address of
    is_primary: bool = True  # its routers are the instance's default ones; another's serve what concerns its own addresses

    def text(self) -> str:
        """Return it in the words of ip(8)."""
        noun = "gateway" if self.is_primary else "router"
        words = [f"peer {self.ifname} address {self.lladdr}", *self.addresses, *(f"{noun} {each}" for each in self.gateways)]
        return " ".join(words)


class VethPort(Member, frozen=True, kw_only=True):
    """A veth pair: our end in the VRF, the other one in the instance's namespace.

    `instance_netns` is a name in /run/netns or an absolute path. If `make_netns`, the namespace is made when absent and is ours.
    A port of another host's overlay is taken over only if its label names the same instance and MAC; the compiler yields a port
    only where its mapping leads. The kernel's dump gives ifname, lladdr, mtu, vrf and, from the label, whose port it is and
    whether we made the namespace; the rest counts only when the port is plugged.
    """

    order: ClassVar[int] = Order.PORT

    instance_netns: str
    make_netns: bool
    inside: Inside
    instance: str = ""  # the instance's id; nothing: the name of its namespace, which is that id if we made it

    @property
    def holder(self) -> str:
        """Return whose port this is."""
        return self.instance or self.instance_netns

    def same_place(self, other: KernelObject) -> bool:
        """Return whether another port leads to the same instance, in a namespace that we made or not as this one."""
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
    """One end of a cable: a veth pair whose ends are both in namespaces of ours, e.g. each in a VRF of the overlay.

    Linux makes and deletes both ends together. The end that is asked for first brings the other, which is incomplete until it is
    asked for itself. The ends are two objects, since they may belong to two VPCs. `group` is VXLAN_GROUP where packets that leave
    by the end go on to a receiver that is not a port of this host's VPC, PEERING_GROUP where that is a peer's.
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
    """A device of the host's own that is moved from the underlay to the outside, and moved back when nobody asks for it.

    Its MAC and MTU stay as the operator has set them; addresses and routes that it had in the underlay go with the move.
    """

    order: ClassVar[int] = Order.UPLINK

    netns: str = OUTSIDE
    port: bool = False  # whether it is one of Direct Connect, which nobody waits for but what is on it; no kernel shows that

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
    """A device is up. Apart from the device, so that everything that guards it comes in between."""

    kind: ClassVar[str] = "up"
    is_up_state: ClassVar[bool] = True

    @property
    def key(self) -> Key:
        return up_key(self.ifname, self.netns)

    @property
    def parent(self) -> Key | None:
        # Each namespace begins with a loopback.
        return namespace_key(self.netns) if self.ifname == LOOPBACK else link_key(self.ifname, self.netns)

    @property
    def order(self) -> int:
        return Order.VRF_UP if self.ifname == LOOPBACK or self.ifname.startswith("vrf") else Order.UP

    def text(self) -> str:
        return f"link {self.ifname} up"


class Gro(OnDevice, frozen=True, kw_only=True):
    """Whether a device gathers packets of one stream before they are routed (generic receive offload).

    Deleting it does nothing: a device takes its features along.
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
    """A setting of a device that is not as it should be: a word of ip-link(8), or a path below /proc/sys/net."""

    setting: str
    found: str
    wanted: str


class Settings(OnDevice, frozen=True, kw_only=True):
    """All else about a device that packets depend on: its flags, its tunnel parameters, the sysctls that it has inherited.

    A new device has them as they should be, so only deviations are named: a device costs one small object, however many settings
    there are. What is asked for has none. Creating or deleting it does nothing.
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
    """A value below /proc/sys/net; `ifname` when it is a device's own.

    Deleting one does nothing: a device takes its sysctls along, and the namespace's own go with the namespace.
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
