"""Link messages as kernel objects: netorch's devices, and the settings that the messages contain.

Pure, except that peers in other namespaces are requested: the other end of a veth pair, and the parent of a VLAN device.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from netorch.drivers import foreign
from netorch.drivers.netlink import attrs, each_attr, u32
from netorch.drivers.rtnl.encode import DELETED_GROUP
from netorch.drivers.rtnl.rooted import VLAN_PROTOCOLS
from netorch.drivers.rtnl.settings import deviations, is_standard_vxlan
from netorch.drivers.rtnl.uapi import (
    IFF_LOWER_UP,
    IFF_UP,
    IFLA,
    IFLA_INET,
    IFLA_INFO,
    IFLA_VLAN,
    IFLA_VRF,
    IFLA_VXLAN,
    IFLA_XDP,
    IFLA_XFRM,
    NDTA,
    NDTMSG,
    NDTPA,
)
from netorch.state.base import HOST_SLICE, OUTSIDE, OVERLAY, KernelObject
from netorch.state.link import (
    LOOPBACK,
    VXLAN_PORT,
    AdminUp,
    CableEnd,
    Deviation,
    IncompleteLink,
    Inside,
    Link,
    Settings,
    Sysctl,
    TapPort,
    Uplink,
    VethPort,
    Vrf,
    Vxlan,
)
from netorch.state.names import is_port, is_vlan_of_port, vni_of_device, vni_of_netns
from netorch.state.owner import ALTNAME_PREFIX, PortLabel, altname, read_label
from netorch.state.rooted import Vlan, Xfrm

NeighbourParms = Mapping[tuple[int, int], dict[int, bytes]]  # (family, ifindex) -> attributes

_IFINFO = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")
_FAMILY_OF: Final = {4: socket.AF_INET, 6: socket.AF_INET6}

# Positions in the arrays IFLA_INET_CONF and IFLA_INET6_CONF. Source: linux/ip.h (from 1), linux/ipv6.h (from 0)
_PROXY_ARP, _DISABLE_IPV6 = 3 - 1, 26
_PARMS: Final = {"ucast_solicit": NDTPA.UCAST_PROBES, "mcast_solicit": NDTPA.MCAST_PROBES, "proxy_delay": NDTPA.PROXY_DELAY}

NO_INSIDE: Final = Inside(ifname="", lladdr="", addresses=(), gateways=())


class Device(msgspec.Struct, kw_only=True):
    """A device as reported by the kernel."""

    index: int
    ifname: str
    kind: str
    up: bool
    carries: bool  # up and connected to something
    master: int
    mtu: int
    lladdr: str
    alias: str
    group: int
    altnames: tuple[str, ...]
    peer: int  # of a veth: the other end's ifindex in its own namespace; of a VLAN device: its parent's
    netnsid: int | None  # of a veth, VXLAN or VLAN device or xfrm interface: the linked namespace, or None for this one
    data: bytes
    xdp: bool  # has an XDP program
    proxy_arp: int
    ipv6: bool | None  # None if the message does not contain it
    deviations: tuple[Deviation, ...]  # of its settings from those required for netorch's devices

    @property
    def has_altname(self) -> bool:
        """Return whether the device has netorch's altname, even if it is about to be deleted."""
        return altname(self.ifname) in self.altnames

    @property
    def marked(self) -> bool:
        """Return whether the device is netorch's and complete."""
        return self.has_altname and self.group != DELETED_GROUP


class End(msgspec.Struct, frozen=True):
    """A device's peer: its namespace's label, its name there, and its MAC if it was requested."""

    netns: str
    ifname: str
    lladdr: str = ""


class Place(msgspec.Struct, kw_only=True):
    """The namespace that messages come from, with what they omit: device names, and peers in other namespaces."""

    netns: str = OVERLAY
    names: dict[int, str] = {}  # of all devices, by ifindex
    uplinks: set[str] = set()  # names of marked devices that belong to no VPC
    far_end: Callable[[Device], End | None] = lambda _: None  # a device's peer, if it is in another namespace of netorch
    label_of: Callable[[int], str | None] = lambda _: None  # the label of the namespace with this nsid

    @property
    def vni(self) -> int:
        """Return the VPC that owns the whole namespace; HOST_SLICE if several share it."""
        return vni_of_netns(self.netns)

    def vni_of(self, ifname: str) -> int:
        """Return the VPC of a device, or HOST_SLICE if it belongs to none."""
        return vni_of_device(ifname, self.netns)

    def is_ours(self, ifname: str) -> bool:
        """Return whether a device is one that netorch makes, or an uplink."""
        return self.vni_of(ifname) != HOST_SLICE or ifname in self.uplinks or self.is_vlan_of_port(ifname)

    def is_vlan_of_port(self, ifname: str) -> bool:
        """Return whether a device's name is that of a port's VLAN that belongs to no VPC."""
        return self.netns == OUTSIDE and is_vlan_of_port(ifname)

    def learn(self, dev: Device) -> None:
        """Record a device's name, and whether it is an uplink."""
        self.names[dev.index] = dev.ifname
        self.uplinks.discard(dev.ifname)
        if is_uplink(dev, self):
            self.uplinks.add(dev.ifname)

    def forget(self, index: int, ifname: str) -> None:
        """Drop the record of a deleted device."""
        self.names.pop(index, None)
        self.uplinks.discard(ifname)


def device(body: bytes) -> Device:
    """Return the device of a NEWLINK or DELLINK message."""
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = attrs(body, _IFINFO.size)
    info = attrs(found.get(IFLA.LINKINFO, b""))
    conf = attrs(found.get(IFLA.AF_SPEC, b""))
    inet = attrs(conf.get(socket.AF_INET, b"")).get(IFLA_INET.CONF, b"")
    inet6 = attrs(conf.get(socket.AF_INET6, b"")).get(IFLA_INET.CONF6, b"")
    ifname, kind, mtu = _text(found.get(IFLA.IFNAME, b"")), _text(info.get(IFLA_INFO.KIND, b"")), u32(found.get(IFLA.MTU, b""))
    data = info.get(IFLA_INFO.DATA, b"")
    return Device(
        index=index,
        ifname=ifname,
        kind=kind,
        up=bool(flags & IFF_UP),
        carries=bool(flags & IFF_LOWER_UP),
        master=u32(found.get(IFLA.MASTER, b"")),
        mtu=mtu,
        lladdr=found.get(IFLA.ADDRESS, b"").hex(":"),
        alias=_text(found.get(IFLA.IFALIAS, b"")),
        group=u32(found.get(IFLA.GROUP, b"")),
        altnames=tuple(_text(value) for _, value in each_attr(found.get(IFLA.PROP_LIST, b""))),
        peer=u32(found.get(IFLA.LINK, b"")),
        netnsid=u32(found[IFLA.LINK_NETNSID]) if IFLA.LINK_NETNSID in found else None,
        data=data,
        xdp=any(attrs(found.get(IFLA.XDP, b"")).get(IFLA_XDP.ATTACHED, b"")),
        proxy_arp=_conf(inet, _PROXY_ARP) or 0,
        ipv6=None if (disabled := _conf(inet6, _DISABLE_IPV6)) is None else not disabled,
        deviations=tuple(deviations(ifname, kind, mtu, flags, found, data, inet, inet6)),
    )


def is_uplink(dev: Device, place: Place) -> bool:
    """Return whether a device was moved from the underlay to the outside namespace by netorch."""
    shared = place.vni_of(dev.ifname) == HOST_SLICE and not place.is_vlan_of_port(dev.ifname)
    return place.netns == OUTSIDE and dev.marked and shared


def link(dev: Device, place: Place) -> Link | None:
    """Return the device as an object, an IncompleteLink if it is not finished, or None if it is foreign."""
    vni = place.vni_of(dev.ifname)
    stray = any(name.startswith(ALTNAME_PREFIX) for name in dev.altnames)  # renamed by others, or about to be deleted
    if not dev.marked and not stray and vni == HOST_SLICE and not place.is_vlan_of_port(dev.ifname):
        return None
    found = _finished(dev, vni, place)
    if dev.marked and found is not None and (not isinstance(found, VethPort) or read_label(dev.alias) is not None):
        return found
    return IncompleteLink(netns=place.netns, vni=vni, ifname=dev.ifname, seems=None if stray and not dev.marked else found)


def _finished(dev: Device, vni: int, place: Place) -> Link | None:
    """Return the device as a finished object; None if it is not a device that netorch makes."""
    if is_uplink(dev, place):
        return Uplink(netns=place.netns, ifname=dev.ifname)
    vrf = place.names.get(dev.master, "")
    match dev.kind:
        case "vrf":
            return Vrf(netns=place.netns, vni=vni, ifname=dev.ifname, table=u32(attrs(dev.data).get(IFLA_VRF.TABLE, b"")))
        case "vxlan":
            return _vxlan(dev, vni, vrf, place)
        case "veth":
            return _veth(dev, vni, vrf, place)
        case "tun":
            return TapPort(netns=place.netns, vni=vni, ifname=dev.ifname, lladdr=dev.lladdr, mtu=dev.mtu, vrf=vrf)
        case "xfrm":
            return _xfrm(dev, vni, vrf, place)
        case "vlan":
            return _vlan(dev, vni, vrf, place)
        case _:
            return None


def device_objects(dev: Device, place: Place) -> Iterator[KernelObject]:
    """Yield netorch's device, its up state and the settings in the message; or foreign objects in the message."""
    found = link(dev, place)
    if dev.ifname == LOOPBACK and dev.up:
        yield AdminUp(netns=place.netns, vni=place.vni, ifname=LOOPBACK)
    elif found is None and dev.up and dev.ifname != LOOPBACK:
        yield foreign.device(dev.ifname, place.netns)
    if found is not None:
        yield found
    if dev.xdp:
        yield foreign.program(dev.ifname, place.netns)
    if found is None:
        return
    if isinstance(found, IncompleteLink):
        return
    if dev.up:
        yield AdminUp(netns=found.netns, vni=found.vni, ifname=dev.ifname)
    yield Settings(netns=found.netns, vni=found.vni, ifname=dev.ifname, deviations=dev.deviations)
    if is_port(dev.ifname):
        yield _sysctl(found, f"ipv4/conf/{dev.ifname}/proxy_arp", str(dev.proxy_arp))
    if dev.ipv6:
        yield _sysctl(found, f"ipv6/conf/{dev.ifname}/disable_ipv6", "0")


def has_neighbour_sysctls(dev: Device) -> bool:
    """Return whether the agent sets neighbour sysctls of such a device."""
    return dev.kind == "vxlan" or is_port(dev.ifname)


def neighbour_sysctls(dev: Device, of: Link, parms: NeighbourParms) -> Iterator[Sysctl]:
    """Yield the neighbour sysctls of a marked device."""
    if dev.kind == "vxlan":
        for version in (4, 6) if dev.ipv6 else (4,):
            for name in ("mcast_solicit", "ucast_solicit"):
                yield _parm(dev, of, version, name, parms)
    elif is_port(dev.ifname):
        yield _parm(dev, of, 4, "proxy_delay", parms)


def neighbour_parms(body: bytes) -> tuple[tuple[int, int], dict[int, bytes]]:
    """Return the family and ifindex of a neighbour table message, and those of its parameters that the agent sets."""
    inner = attrs(attrs(body, NDTMSG.SIZE).get(NDTA.PARMS, b""))
    return (body[NDTMSG.FAMILY], u32(inner.get(NDTPA.IFINDEX, b""))), {kind: inner.get(kind, b"") for kind in _PARMS.values()}


def _vxlan(dev: Device, vni: int, vrf: str, place: Place) -> Vxlan | None:
    data = attrs(dev.data)
    port = int.from_bytes(data.get(IFLA_VXLAN.PORT, b""), "big")
    other_vni = u32(data.get(IFLA_VXLAN.ID, b"")) != vni
    if port != VXLAN_PORT or dev.netnsid is None or IFLA_VXLAN.LOCAL not in data or other_vni or not is_standard_vxlan(data):
        return None  # foreign: another port or VNI, a socket in the overlay, or options that netorch never sets
    local = socket.inet_ntop(socket.AF_INET, data[IFLA_VXLAN.LOCAL])
    return Vxlan(
        netns=place.netns,
        ifname=dev.ifname,
        vni=vni,
        local=local,
        lladdr=dev.lladdr,
        mtu=dev.mtu,
        vrf=vrf,
        group=dev.group,
    )


def _veth(dev: Device, vni: int, vrf: str, place: Place) -> CableEnd | VethPort | None:
    """Return an instance's port, as its label says, or an end of a veth pair between netorch's namespaces."""
    label = read_label(dev.alias) if is_port(dev.ifname) else None
    if label is None and (other := _other_end(dev, place)) is not None:
        return CableEnd(
            netns=place.netns,
            vni=vni,
            ifname=dev.ifname,
            lladdr=dev.lladdr,
            mtu=dev.mtu,
            vrf=vrf,
            peer=other.ifname,
            peer_netns=other.netns,
            group=dev.group,
        )
    if not is_port(dev.ifname):
        return None
    label = label or PortLabel("", "")
    return VethPort(
        netns=place.netns,
        vni=vni,
        ifname=dev.ifname,
        lladdr=dev.lladdr,
        mtu=dev.mtu,
        vrf=vrf,
        instance_netns=label.place,
        make_netns=bool(label.made),
        inside=NO_INSIDE,
        instance=label.instance,
    )


def _other_end(dev: Device, place: Place) -> End | None:
    return End(place.netns, place.names.get(dev.peer, "")) if dev.netnsid is None else place.far_end(dev)


def _xfrm(dev: Device, vni: int, vrf: str, place: Place) -> Xfrm | None:
    """Return a tunnel's device, if its SAs are in the present outside namespace, and it is not bound to a device there."""
    data = attrs(dev.data)
    if dev.netnsid is None or place.label_of(dev.netnsid) != OUTSIDE or IFLA_XFRM.COLLECT_METADATA in data:
        return None
    if u32(data.get(IFLA_XFRM.LINK, b"")):
        return None
    if_id = u32(data.get(IFLA_XFRM.IF_ID, b""))
    return Xfrm(netns=place.netns, vni=vni, ifname=dev.ifname, if_id=if_id, mtu=dev.mtu, vrf=vrf, group=dev.group)


def _vlan(dev: Device, vni: int, vrf: str, place: Place) -> Vlan | None:
    """Return a VLAN device, if its parent is in the present outside namespace, and has the same MAC."""
    lower, data = _other_end(dev, place), attrs(dev.data)
    number = int.from_bytes(data.get(IFLA_VLAN.PROTOCOL, b""), "big")
    protocol = next((name for name, known in VLAN_PROTOCOLS.items() if known == number), None)
    if lower is None or lower.netns != OUTSIDE or protocol is None or lower.lladdr not in ("", dev.lladdr):
        return None
    if IFLA_VLAN.INGRESS_QOS in data or IFLA_VLAN.EGRESS_QOS in data:  # it would set packet priorities
        return None
    vlan = int.from_bytes(data.get(IFLA_VLAN.ID, b""), sys.byteorder)
    is_around_others = place.netns == OUTSIDE and vlan
    return Vlan(
        netns=place.netns,
        vni=vni,
        ifname=dev.ifname,
        lower=lower.ifname,
        vlan=vlan,
        protocol=protocol,
        mtu=0 if is_around_others else dev.mtu,
        vrf=vrf,
        group=dev.group,
    )


def _sysctl(of: Link, path: str, value: str) -> Sysctl:
    return Sysctl(netns=of.netns, vni=of.vni, path=path, value=value, ifname=of.ifname)


def _parm(dev: Device, of: Link, version: int, name: str, parms: NeighbourParms) -> Sysctl:
    raw = parms.get((int(_FAMILY_OF[version]), dev.index), {}).get(_PARMS[name], b"")
    value = u32(raw) if len(raw) == 4 else u32(raw) // 10  # delays: milliseconds in netlink, hundredths of a second in /proc
    return _sysctl(of, f"ipv{version}/neigh/{dev.ifname}/{name}", str(value))


def _conf(array: bytes, position: int) -> int | None:
    return int(_U32.unpack_from(array, 4 * position)[0]) if len(array) >= 4 * position + 4 else None


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
