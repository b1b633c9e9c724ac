"""Devices: VRF, VXLAN, ports; what is up and what gathers packets; sysctls of devices and of the namespace."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from netorch.state.base import HOST_SLICE, KernelObject, Key, Rank, slice_of_ifname

CONNTRACK: Final = "netfilter/nf_conntrack"  # the paths of connection tracking's sysctls begin so
LOOPBACK: Final = "lo"  # the kernel hangs `unreachable` IPv6 routes on it, and takes them away when it goes down
VXLAN_PORT = 4789  # RFC 7348 section 5
VXLAN_GROUP: Final = 0x4E540000  # of our VXLAN devices, so that a firewall knows them by a number; nobody else's has this one


def link_key(ifname: str) -> Key:
    """Return the key of the device of that name."""
    return ("link", ifname)


class Link(KernelObject, frozen=True, kw_only=True):
    """A device in the fabric namespace."""

    ifname: str

    @property
    def key(self) -> Key:
        return link_key(self.ifname)

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class HalfMade(Link, frozen=True, kw_only=True, tag=True):
    """A device with a name of ours but without our mark, found in the fabric. Never asked for.

    Making it was cut short, the mark was taken away, or somebody else made it. `seems` is what it would be with the mark, if that
    is something of ours: then it is finished in place instead of being made again.
    """

    seems: Vrf | Vxlan | VethPort | TapPort | None = None

    @property
    def rank(self) -> int:
        return Rank.PORT


def _finishes(wanted: Link, actual: KernelObject) -> bool:
    """Return whether `actual` lacks its mark, and otherwise is or can become what is wanted."""
    seems = actual.seems if isinstance(actual, HalfMade) else None
    return seems is not None and (wanted.matches(seems) or wanted.replaces(seems))


class Vrf(Link, frozen=True, kw_only=True, tag=True):
    """A VRF device: one VPC's own routing table. Source: Documentation/networking/vrf.rst."""

    table: int

    def replaces(self, actual: KernelObject) -> bool:
        return _finishes(self, actual)

    @property
    def rank(self) -> int:
        return Rank.VRF


class Vxlan(Link, frozen=True, kw_only=True, tag=True):
    """A VXLAN device without learning, enslaved to its VRF; its UDP socket lives in the underlay namespace."""

    vni: int
    local: str  # the VTEP
    lladdr: str  # the host's router MAC
    mtu: int  # bytes of inner IP packet
    vrf: str
    group: int = VXLAN_GROUP

    def replaces(self, actual: KernelObject) -> bool:
        if isinstance(actual, Vxlan):
            return (actual.vni, actual.local) == (self.vni, self.local)
        return _finishes(self, actual)

    @property
    def rank(self) -> int:
        return Rank.VXLAN

    @property
    def parent(self) -> Key | None:
        return link_key(self.vrf)


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What the instance finds on its side; set when the port is plugged, the customer's own affair afterwards."""

    ifname: str
    lladdr: str
    addresses: tuple[str, ...]  # with prefix length
    gateways: tuple[str, ...]  # its routers, one for each IP version that it has an address of
    is_primary: bool = True  # its routers are the instance's default ones; another's serve what concerns its own addresses


class VethPort(Link, frozen=True, kw_only=True, tag=True):
    """A veth pair: our end in the VRF, the other one in the instance's namespace.

    `netns` is a name in /run/netns or an absolute path. If `make_netns`, the namespace is made when absent and belongs to us.
    A port of another host's fabric is taken over only if its label names the same instance and MAC; the compiler yields a port
    only where its mapping leads. The kernel's dump gives ifname, lladdr, mtu, vrf and, from the label, whose port it is and
    whether we made the namespace; the rest counts only when the port is plugged.
    """

    lladdr: str
    mtu: int
    vrf: str
    netns: str
    make_netns: bool
    inside: Inside
    instance: str = ""  # the instance's id; nothing: the name of its namespace, which is that id if we made it

    @property
    def holder(self) -> str:
        """Return whose port this is."""
        return self.instance or self.netns

    def same_place(self, other: KernelObject) -> bool:
        """Return whether another port leads to the same instance, in a namespace that we made or not as this one."""
        return isinstance(other, VethPort) and (other.holder, other.make_netns) == (self.holder, self.make_netns)

    def matches(self, actual: KernelObject) -> bool:
        if not isinstance(actual, VethPort) or not self.same_place(actual):
            return False
        return (actual.lladdr, actual.mtu, actual.vrf) == (self.lladdr, self.mtu, self.vrf)

    def replaces(self, actual: KernelObject) -> bool:
        return isinstance(actual, VethPort) or _finishes(self, actual)

    @property
    def rank(self) -> int:
        return Rank.PORT

    @property
    def parent(self) -> Key | None:
        return link_key(self.vrf)


class TapPort(Link, frozen=True, kw_only=True, tag=True):
    """A persistent tap device for a virtual machine's network card."""

    lladdr: str
    mtu: int
    vrf: str

    def replaces(self, actual: KernelObject) -> bool:
        return isinstance(actual, TapPort) or _finishes(self, actual)

    @property
    def rank(self) -> int:
        return Rank.PORT

    @property
    def parent(self) -> Key | None:
        return link_key(self.vrf)


class AdminUp(KernelObject, frozen=True, kw_only=True, tag=True):
    """A device is up. Apart from the device, so that everything that guards it comes in between."""

    ifname: str

    @property
    def key(self) -> Key:
        return ("up", self.ifname)

    @property
    def parent(self) -> Key | None:
        return None if self.ifname == LOOPBACK else link_key(self.ifname)  # each namespace is born with a loopback

    @property
    def rank(self) -> int:
        return Rank.VRF_UP if self.ifname == LOOPBACK or self.ifname.startswith("vrf") else Rank.UP

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class Gro(KernelObject, frozen=True, kw_only=True, tag=True):
    """Whether a device gathers packets of one stream before they are routed (generic receive offload).

    Deleting it does nothing: a device takes its features along.
    """

    in_place: ClassVar[bool] = True

    ifname: str
    on: bool

    @property
    def key(self) -> Key:
        return ("gro", self.ifname)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname)

    @property
    def rank(self) -> int:
        return Rank.DEVICE_SYSCTL

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class Deviation(msgspec.Struct, frozen=True):
    """A setting of a device that is not as it should be: a word of ip-link(8), or a path below /proc/sys/net."""

    setting: str
    found: str
    wanted: str


class Settings(KernelObject, frozen=True, kw_only=True, tag=True):
    """All else about a device that packets depend on: its flags, its tunnel parameters, the sysctls that it has inherited.

    A new device has them as they should be, so only deviations are named: a device costs one small object, however many settings
    there are. What is asked for has none. Creating or deleting it does nothing.
    """

    in_place: ClassVar[bool] = True

    ifname: str
    deviations: tuple[Deviation, ...] = ()

    @property
    def key(self) -> Key:
        return ("settings", self.ifname)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname)

    @property
    def rank(self) -> int:
        return Rank.DEVICE_SYSCTL

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class Sysctl(KernelObject, frozen=True, kw_only=True, tag=True):
    """A value below /proc/sys/net in the fabric namespace; `ifname` when it is a device's own.

    Deleting one does nothing: a device takes its sysctls along, and the namespace's own go with the namespace.
    """

    in_place: ClassVar[bool] = True

    path: str  # e.g. ipv4/conf/v-001388abcdef0/proxy_arp
    value: str
    ifname: str = ""

    @property
    def key(self) -> Key:
        return ("sysctl", self.path)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname) if self.ifname else None

    @property
    def rank(self) -> int:
        if self.ifname:
            return Rank.DEVICE_SYSCTL
        return Rank.CONNTRACK_SYSCTL if self.path.startswith(CONNTRACK) else Rank.SYSCTL

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname) if self.ifname else HOST_SLICE
