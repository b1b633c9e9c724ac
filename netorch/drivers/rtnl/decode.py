"""Route netlink messages as kernel objects, ours only. Pure; the inverse stands in netorch.drivers.rtnl.encode."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from netorch.drivers import foreign
from netorch.drivers.netlink import attrs, each_attr, u32
from netorch.drivers.rtnl.encode import DELETED_GROUP
from netorch.drivers.rtnl.settings import is_standard_vxlan, settings
from netorch.drivers.rtnl.uapi import (
    FR_ACT,
    FRA,
    IFA,
    IFADDRMSG,
    IFF_UP,
    IFLA,
    IFLA_INET,
    IFLA_INFO,
    IFLA_VRF,
    IFLA_VXLAN,
    IFLA_XDP,
    NDA,
    NDMSG,
    NDTA,
    NDTMSG,
    NDTPA,
    NUD_PERMANENT,
    RT_TABLE,
    RTA,
    RTAX,
    RTMSG,
    RTN,
    RULEHDR,
    table_of,
)
from netorch.state.base import HOST_SLICE, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, UNREACHABLE, VRF_PRIORITY, Address, Neighbour, Route, Rule
from netorch.state.link import (
    LOOPBACK,
    VXLAN_PORT,
    AdminUp,
    CableEnd,
    IncompleteLink,
    Inside,
    Link,
    Sysctl,
    TapPort,
    VethPort,
    Vrf,
    Vxlan,
)
from netorch.state.names import is_cable_end, is_port, vni_of_ifname, vni_of_table
from netorch.state.owner import ALTNAME_PREFIX, PROTOCOL, PortLabel, altname, read_label

Names = Mapping[int, str]  # device number -> name
NeighbourParms = Mapping[tuple[int, int], dict[int, bytes]]  # (family, device number) -> attributes

_IFINFO = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")
ROUTE_TYPES: Final = {RTN.BLACKHOLE: BLACKHOLE, RTN.UNREACHABLE: UNREACHABLE}
_FAMILY_OF: Final = {4: socket.AF_INET, 6: socket.AF_INET6}

# Positions in the arrays IFLA_INET_CONF and IFLA_INET6_CONF. Source: linux/ip.h (from 1), linux/ipv6.h (from 0)
_PROXY_ARP, _DISABLE_IPV6 = 3 - 1, 26
_PARMS: Final = {"ucast_solicit": NDTPA.UCAST_PROBES, "mcast_solicit": NDTPA.MCAST_PROBES, "proxy_delay": NDTPA.PROXY_DELAY}

NO_INSIDE: Final = Inside(ifname="", lladdr="", addresses=(), gateways=())


class Device(msgspec.Struct, kw_only=True):
    """A device as the kernel shows it."""

    body: bytes  # of the message
    index: int
    ifname: str
    kind: str
    up: bool
    master: int
    mtu: int
    lladdr: str
    alias: str
    group: int
    altnames: tuple[str, ...]
    peer: int  # of a veth: the other end's number in its own namespace
    netnsid: int | None  # the other namespace of a veth or VXLAN device, None when it is this one
    data: bytes
    xdp: bool  # whether a program sees packets first
    proxy_arp: int
    ipv6: bool | None  # None when the message does not say

    @property
    def vni(self) -> int:
        """Return the VPC that the device's name says."""
        return vni_of_ifname(self.ifname)

    @property
    def has_altname(self) -> bool:
        """Return whether the device has our mark, whatever becomes of it."""
        return altname(self.ifname) in self.altnames

    @property
    def marked(self) -> bool:
        """Return whether the device is ours and complete."""
        return self.has_altname and self.group != DELETED_GROUP


def device(body: bytes) -> Device:
    """Return the device of a NEWLINK or DELLINK message."""
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    found = attrs(body, _IFINFO.size)
    info = attrs(found.get(IFLA.LINKINFO, b""))
    conf = attrs(found.get(IFLA.AF_SPEC, b""))
    inet = attrs(conf.get(socket.AF_INET, b"")).get(IFLA_INET.CONF, b"")
    inet6 = attrs(conf.get(socket.AF_INET6, b"")).get(IFLA_INET.CONF6, b"")
    return Device(
        body=body,
        index=index,
        ifname=_text(found.get(IFLA.IFNAME, b"")),
        kind=_text(info.get(IFLA_INFO.KIND, b"")),
        up=bool(flags & IFF_UP),
        master=u32(found.get(IFLA.MASTER, b"")),
        mtu=u32(found.get(IFLA.MTU, b"")),
        lladdr=found.get(IFLA.ADDRESS, b"").hex(":"),
        alias=_text(found.get(IFLA.IFALIAS, b"")),
        group=u32(found.get(IFLA.GROUP, b"")),
        altnames=tuple(_text(value) for _, value in each_attr(found.get(IFLA.PROP_LIST, b""))),
        peer=u32(found.get(IFLA.LINK, b"")),
        netnsid=u32(found[IFLA.LINK_NETNSID]) if IFLA.LINK_NETNSID in found else None,
        data=info.get(IFLA_INFO.DATA, b""),
        xdp=any(attrs(found.get(IFLA.XDP, b"")).get(IFLA_XDP.ATTACHED, b"")),
        proxy_arp=_conf(inet, _PROXY_ARP) or 0,
        ipv6=None if (disabled := _conf(inet6, _DISABLE_IPV6)) is None else not disabled,
    )


def link(dev: Device, names: Names) -> Link | None:
    """Return the device as an object, IncompleteLink when it is not as we finish them, or None when it is foreign."""
    stray = any(name.startswith(ALTNAME_PREFIX) for name in dev.altnames)  # renamed behind our back, or about to be deleted
    if not dev.marked and not stray and dev.vni == HOST_SLICE:
        return None
    found = _finished(dev, names)
    if dev.marked and found is not None and (not isinstance(found, VethPort) or read_label(dev.alias) is not None):
        return found
    return IncompleteLink(vni=dev.vni, ifname=dev.ifname, seems=None if stray and not dev.marked else found)


def _finished(dev: Device, names: Names) -> Link | None:
    """Return what a device is if it is ours and complete; None: none of the devices that we make."""
    vrf = names.get(dev.master, "")
    match dev.kind:
        case "vrf":
            return Vrf(vni=dev.vni, ifname=dev.ifname, table=u32(attrs(dev.data).get(IFLA_VRF.TABLE, b"")))
        case "vxlan":
            return _vxlan(dev, vrf)
        case "veth" if is_cable_end(dev.ifname):
            return _cable_end(dev, vrf, names.get(dev.peer, "")) if dev.netnsid is None else None
        case "veth":
            label = read_label(dev.alias) or PortLabel("", "")
            return VethPort(
                vni=dev.vni,
                ifname=dev.ifname,
                lladdr=dev.lladdr,
                mtu=dev.mtu,
                vrf=vrf,
                instance_netns=label.place,
                make_netns=bool(label.made),
                inside=NO_INSIDE,
                instance=label.instance,
            )
        case "tun":
            return TapPort(vni=dev.vni, ifname=dev.ifname, lladdr=dev.lladdr, mtu=dev.mtu, vrf=vrf)
        case _:
            return None


def device_objects(dev: Device, names: Names) -> Iterator[KernelObject]:
    """Yield the device of ours, its up state and what the message says of its settings; or what is foreign about it."""
    found = link(dev, names)
    if dev.ifname == LOOPBACK and dev.up:
        yield AdminUp(ifname=LOOPBACK)
    elif found is None and dev.up and dev.ifname != LOOPBACK:
        yield foreign.device(dev.ifname)
    if found is not None:
        yield found
    if dev.xdp:
        yield foreign.program(dev.ifname)
    if found is None:
        return
    if isinstance(found, IncompleteLink):
        return
    if dev.up:
        yield AdminUp(vni=dev.vni, ifname=dev.ifname)
    yield settings(dev.ifname, dev.kind, dev.body, dev.mtu)
    if isinstance(found, VethPort | TapPort):
        yield Sysctl(vni=dev.vni, path=f"ipv4/conf/{dev.ifname}/proxy_arp", value=str(dev.proxy_arp), ifname=dev.ifname)
    if dev.ipv6:
        yield Sysctl(vni=dev.vni, path=f"ipv6/conf/{dev.ifname}/disable_ipv6", value="0", ifname=dev.ifname)


def neighbour_sysctls(dev: Device, parms: NeighbourParms) -> Iterator[Sysctl]:
    """Yield the neighbour sysctls of a marked device."""
    if dev.kind == "vxlan":
        for version in (4, 6) if dev.ipv6 else (4,):
            for name in ("mcast_solicit", "ucast_solicit"):
                yield _parm(dev, version, name, parms)
    elif is_port(dev.ifname):
        yield _parm(dev, 4, "proxy_delay", parms)


def neighbour_parms(body: bytes) -> tuple[tuple[int, int], dict[int, bytes]]:
    """Return whose parameters a neighbour table message tells, and the parameters."""
    inner = attrs(attrs(body, NDTMSG.SIZE).get(NDTA.PARMS, b""))
    return (body[NDTMSG.FAMILY], u32(inner.get(NDTPA.IFINDEX, b""))), inner


def route(body: bytes, names: Names) -> Route | None:
    """Return the route, or None when it is foreign. One that is not of our making has no usable device or next hop."""
    if body[RTMSG.PROTOCOL] != PROTOCOL:
        return None
    found = attrs(body, RTMSG.SIZE)
    family = body[RTMSG.FAMILY]
    dst = socket.inet_ntop(family, found[RTA.DST]) if RTA.DST in found else ("0.0.0.0" if family == socket.AF_INET else "::")
    table, metric = table_of(body, found), u32(found.get(RTA.PRIORITY, b""))
    kind, length = body[RTMSG.TYPE], body[RTMSG.DST_LEN]
    if body[RTMSG.TOS]:
        return None  # stands beside ours, for one type of service: see foreign.route
    vni = vni_of_table(table)
    if kind != RTN.UNICAST:
        return Route(vni=vni, table=table, dst=f"{dst}/{length}", type=ROUTE_TYPES.get(kind, f"type {kind}"), metric=metric)
    via = socket.inet_ntop(family, found[RTA.GATEWAY]) if RTA.GATEWAY in found else ""
    ifname = names.get(u32(found.get(RTA.OIF, b"")), "?")
    mtu = _mtu(found[RTA.METRICS]) if RTA.METRICS in found else 0
    if not _ROUTE_OF_OTHERS.isdisjoint(found):
        ifname = "?"
    # A peer's table leads to an address by the device of the VPC that has the address: the route is that VPC's.
    vni = vni_of_ifname(ifname) or vni
    return Route(vni=vni, table=table, dst=f"{dst}/{length}", ifname=ifname, via=via, metric=metric, mtu=mtu)


def neighbour(body: bytes, names: Names) -> tuple[Neighbour, bool] | None:
    """Return the neighbour of ours and whether it is permanent, as ours are; None when it is foreign."""
    found = attrs(body, NDMSG.SIZE)
    if found.get(NDA.PROTOCOL) != _OURS or NDA.DST not in found:
        return None
    ifname = names.get(_U32.unpack_from(body, NDMSG.IFINDEX)[0], "?")
    dst = socket.inet_ntop(body[NDMSG.FAMILY], found[NDA.DST])
    obj = Neighbour(vni=vni_of_ifname(ifname), ifname=ifname, dst=dst, lladdr=found.get(NDA.LLADDR, b"").hex(":"))
    return obj, body[NDMSG.STATE] == NUD_PERMANENT


def fdb(body: bytes, names: Names) -> Fdb | None:
    """Return the entry of a VXLAN device of ours, or None."""
    ifname = names.get(_U32.unpack_from(body, NDMSG.IFINDEX)[0], "")
    vni = vni_of_ifname(ifname)
    if not ifname.startswith("vx") or vni == HOST_SLICE:
        return None
    found = attrs(body, NDMSG.SIZE)
    raw = found.get(NDA.DST, b"")
    if len(raw) not in (4, 16):
        return None
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    words = [f"{name} {int.from_bytes(found[kind], order)}" for kind, (name, order) in _FDB_OF_OTHERS.items() if kind in found]
    words += [] if body[NDMSG.STATE] & NUD_PERMANENT else ["not permanent"]
    mac, dst = found.get(NDA.LLADDR, b"").hex(":"), socket.inet_ntop(family, raw)
    return Fdb(vni=vni, ifname=ifname, lladdr=mac, dst=dst, strange=" ".join(words))


def address(body: bytes, names: Names) -> Address | None:
    """Return the address of a device of ours, or None."""
    ifname = names.get(_U32.unpack_from(body, IFADDRMSG.INDEX)[0], "")
    vni = vni_of_ifname(ifname)
    if vni == HOST_SLICE:
        return None
    return Address(vni=vni, ifname=ifname, address=f"{_ip(body)}/{body[IFADDRMSG.PREFIXLEN]}")


def takes_routes(gone: Address) -> bool:
    """Return whether the end of this address may have taken routes along.

    With a device's last IPv4 address the kernel flushes its IPv4 routes, and without a word. VRF devices have none of ours.
    """
    return ":" not in gone.address and not gone.ifname.startswith("vrf")


def rule(body: bytes) -> tuple[Rule, bool]:
    """Return the rule and whether it is one of ours, as we make them.

    The kernel itself makes the rule that looks packets up in their VRF's table, with the first VRF and never again. It counts as
    ours in any case, so that it is made again.
    """
    found = attrs(body, RULEHDR.SIZE)
    version = 4 if body[RULEHDR.FAMILY] == socket.AF_INET else 6
    of_vrf = found.get(FRA.L3MDEV) == b"\1"
    table = 0 if of_vrf else table_of(body, found)
    obj = Rule(version=version, priority=u32(found.get(FRA.PRIORITY, b"")), table=table)
    ours = found.get(FRA.PROTOCOL) == _OURS or (of_vrf and obj.priority == VRF_PRIORITY)
    for_all = not any(body[RULEHDR.DST_LEN : RULEHDR.TABLE]) and not body[RULEHDR.FLAGS] and found.keys() <= _RULE_ATTRIBUTES
    return obj, ours and body[RULEHDR.ACTION] == FR_ACT.TO_TBL and for_all


def is_stock_local(found: Rule) -> bool:
    """Return whether this is the kernel's own `pref 0 lookup local`, which would show VPCs the host's addresses."""
    return found.priority == 0 and found.table == RT_TABLE.LOCAL


def _mtu(raw: bytes) -> int:
    """Return the locked MTU of a route's metrics, or -1 for metrics that are not of our making."""
    metrics = {kind: u32(value) for kind, value in each_attr(raw)}
    return metrics.get(RTAX.MTU, -1) if metrics.keys() == {RTAX.LOCK, RTAX.MTU} and metrics[RTAX.LOCK] == 1 << RTAX.MTU else -1


_OURS: Final = bytes((PROTOCOL,))
_FDB_OF_OTHERS: Final[dict[int, tuple[str, Literal["big", "little"]]]] = {
    NDA.PORT: ("port", "big"),
    NDA.VNI: ("vni", sys.byteorder),
    NDA.IFINDEX: ("via", sys.byteorder),
    NDA.NH_ID: ("nhid", sys.byteorder),
}
_ROUTE_OF_OTHERS: Final = frozenset({RTA.MULTIPATH, RTA.VIA, RTA.ENCAP_TYPE, RTA.ENCAP, RTA.NH_ID})
# All others choose packets. SUPPRESS_PREFIXLEN is always shown.
_RULE_ATTRIBUTES: Final = frozenset({FRA.PRIORITY, FRA.SUPPRESS_PREFIXLEN, FRA.TABLE, FRA.L3MDEV, FRA.PROTOCOL})


def _vxlan(dev: Device, vrf: str) -> Vxlan | None:
    data = attrs(dev.data)
    port = int.from_bytes(data.get(IFLA_VXLAN.PORT, b""), "big")
    other_vni = u32(data.get(IFLA_VXLAN.ID, b"")) != dev.vni
    if port != VXLAN_PORT or dev.netnsid is None or IFLA_VXLAN.LOCAL not in data or other_vni or not is_standard_vxlan(data):
        return None  # somebody made it, with another port or VNI, its socket in the overlay, or what we never ask
    local = socket.inet_ntop(socket.AF_INET, data[IFLA_VXLAN.LOCAL])
    return Vxlan(ifname=dev.ifname, vni=dev.vni, local=local, lladdr=dev.lladdr, mtu=dev.mtu, vrf=vrf, group=dev.group)


def _cable_end(dev: Device, vrf: str, peer: str) -> CableEnd:
    return CableEnd(vni=dev.vni, ifname=dev.ifname, lladdr=dev.lladdr, mtu=dev.mtu, vrf=vrf, peer=peer, group=dev.group)


def _parm(dev: Device, version: int, name: str, parms: NeighbourParms) -> Sysctl:
    raw = parms.get((int(_FAMILY_OF[version]), dev.index), {}).get(_PARMS[name], b"")
    value = u32(raw) if len(raw) == 4 else u32(raw) // 10  # delays: milliseconds here, hundredths of a second in /proc
    return Sysctl(vni=dev.vni, path=f"ipv{version}/neigh/{dev.ifname}/{name}", value=str(value), ifname=dev.ifname)


def _ip(body: bytes) -> str:
    found = attrs(body, IFADDRMSG.SIZE)
    raw = found.get(IFA.LOCAL) or found.get(IFA.ADDRESS, b"")
    return socket.inet_ntop(body[IFADDRMSG.FAMILY], raw)


def _conf(array: bytes, position: int) -> int | None:
    return int(_U32.unpack_from(array, 4 * position)[0]) if len(array) >= 4 * position + 4 else None


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
