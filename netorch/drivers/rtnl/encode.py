"""Kernel objects as route netlink messages. Pure; the inverse is netorch.drivers.rtnl.decode.

`index_of` returns a device's ifindex by name, and raises LookupError if there is no such device.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Final

from netorch.drivers.netlink import F_CREATE, F_EXCL, F_REPLACE, Message, NetlinkError, attr, attr_text, attr_u32, nested
from netorch.drivers.rtnl.uapi import (
    AF_BRIDGE,
    FR_ACT,
    FRA,
    IFA,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFF_NOARP,
    IFF_UP,
    IFLA,
    IFLA_INFO,
    IFLA_VRF,
    IFLA_VXLAN,
    NDA,
    NTF_SELF,
    NUD_PERMANENT,
    RT_SCOPE,
    RT_TABLE,
    RTA,
    RTAX,
    RTEXT_FILTER_SKIP_STATS,
    RTM,
    RTN,
    RTNH_F_ONLINK,
    RTPROT,
    VETH_INFO,
)
from netorch.model.addr import mac_bytes, packed
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, LOCAL, UNICAST, UNREACHABLE, Address, Neighbour, Route, Rule
from netorch.state.link import VXLAN_PORT, AdminUp, CableEnd, VethPort, Vrf, Vxlan
from netorch.state.owner import PROTOCOL, altname

IndexOf = Callable[[str], int]

DELETED_GROUP: Final = 0x4E540001  # of devices about to be deleted together; no other group has this number
IP_FAMILIES: Final = (int(socket.AF_INET), int(socket.AF_INET6))

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_IFADDR = struct.Struct("=BBBBI")  # family, length, flags, scope, index
_ROUTE_TYPES: Final = {UNICAST: RTN.UNICAST, BLACKHOLE: RTN.BLACKHOLE, UNREACHABLE: RTN.UNREACHABLE}


NO_VRF: Final = 0


class NotPackable(LookupError):
    """A message cannot be built; has the refusal to report instead."""

    def __init__(self, refusal: NetlinkError) -> None:
        self.refusal = refusal
        super().__init__(refusal.detail)


def link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """Return the fixed header of a link message."""
    return _IFINFO.pack(0, 0, index, flags, change)


def set_link(ifname: str, *attributes: bytes) -> Message:
    """Return the message that changes a device, identified by name."""
    return RTM.SETLINK, 0, link_header() + attr_text(IFLA.IFNAME, ifname) + b"".join(attributes)


def set_up(ifname: str, *, up: bool) -> Message:
    """Return the message that sets a device up or down."""
    return RTM.SETLINK, 0, link_header(0, int(up), IFF_UP) + attr_text(IFLA.IFNAME, ifname)


def forget_neighbours(ifname: str) -> list[Message]:
    """Return the messages that flush a device's learned neighbours: they turn ARP off and on again.

    Source: net/ipv4/arp.c arp_netdev_event and net/ipv6/ndisc.c ndisc_netdev_event: a changed IFF_NOARP flushes the device.
    """
    return [(RTM.SETLINK, 0, link_header(0, flags, IFF_NOARP) + attr_text(IFLA.IFNAME, ifname)) for flags in (IFF_NOARP, 0)]


def mtu(value: int) -> bytes:
    """Return the MTU attribute, in bytes."""
    return attr_u32(IFLA.MTU, value)


def lladdr(mac: str) -> bytes:
    """Return the MAC attribute."""
    return attr(IFLA.ADDRESS, mac_bytes(mac))


def master(index: int) -> bytes:
    """Return the attribute that enslaves a device to the VRF with that ifindex; NO_VRF releases it."""
    return attr_u32(IFLA.MASTER, index)


def alias(text: str) -> bytes:
    """Return the attribute for a device's free text (stored, but never interpreted by the kernel)."""
    return attr_text(IFLA.IFALIAS, text)


def group(number: int) -> bytes:
    """Return the device group attribute."""
    return attr_u32(IFLA.GROUP, number)


def netns_fd(fd: int) -> bytes:
    """Return the attribute that moves a device to another namespace."""
    return attr_u32(IFLA.NET_NS_FD, fd)


def set_altname(ifname: str) -> Message:
    """Return the message that marks a device as netorch's and complete."""
    return (
        RTM.NEWLINKPROP,
        F_CREATE | F_EXCL,
        link_header() + attr_text(IFLA.IFNAME, ifname) + nested(IFLA.PROP_LIST, attr_text(IFLA.ALT_IFNAME, altname(ifname))),
    )


def rename(index: int, ifname: str) -> list[Message]:
    """Return the messages that rename a device, which must be down for that."""
    return [
        (RTM.SETLINK, 0, link_header(index, 0, IFF_UP)),
        (RTM.SETLINK, 0, link_header(index) + attr_text(IFLA.IFNAME, ifname)),
    ]


def move_link(index: int, ifname: str, fd: int) -> Message:
    """Return the message that moves a device to another namespace under the given name."""
    return RTM.SETLINK, 0, link_header(index) + attr_text(IFLA.IFNAME, ifname) + netns_fd(fd)


def del_altname(ifname: str, name: str) -> Message:
    """Return the message that removes an altname from a device."""
    return (
        RTM.DELLINKPROP,
        0,
        link_header() + attr_text(IFLA.IFNAME, ifname) + nested(IFLA.PROP_LIST, attr_text(IFLA.ALT_IFNAME, name)),
    )


def del_link(ifname: str) -> Message:
    """Return the message that deletes one device."""
    return RTM.DELLINK, 0, link_header() + attr_text(IFLA.IFNAME, ifname)


def del_group(number: int) -> Message:
    """Return the message that deletes all devices of a group at once, paying the kernel's grace periods once."""
    return RTM.DELLINK, 0, link_header() + group(number)


def get_link(ifname: str) -> bytes:
    """Return the body of a request for one device, without its statistics."""
    return link_header() + attr_text(IFLA.IFNAME, ifname) + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)


def get_marked(ifname: str) -> bytes:
    """Return the body of a request for the device with the altname derived from this name, whatever its name is."""
    return link_header() + attr_text(IFLA.ALT_IFNAME, altname(ifname)) + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)


def new_vrf(vrf: Vrf) -> Message:
    """Return the message that creates a VRF device."""
    info = nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"vrf"), nested(IFLA_INFO.DATA, attr_u32(IFLA_VRF.TABLE, vrf.table)))
    return RTM.NEWLINK, F_CREATE | F_EXCL, link_header() + attr_text(IFLA.IFNAME, vrf.ifname) + info


def new_vxlan(vxlan: Vxlan, overlay_fd: int, vrf_index: int) -> Message:
    """Return the message that creates a VXLAN device. Send it in the underlay, where the device's UDP socket stays.

    Raises:
      NotPackable: the VTEP is no IPv4 address.
    """
    if ":" in vxlan.local:
        raise NotPackable(
            NetlinkError(errno.EAFNOSUPPORT, f"VTEP {vxlan.local} is not IPv4; give the host an IPv4 underlay address")
        )
    data = nested(
        IFLA_INFO.DATA,
        attr_u32(IFLA_VXLAN.ID, vxlan.vni),
        attr(IFLA_VXLAN.LOCAL, packed(vxlan.local)),
        attr(IFLA_VXLAN.LEARNING, b"\0"),  # no learning
        attr(IFLA_VXLAN.PORT, VXLAN_PORT.to_bytes(2, "big")),
    )
    body = (
        link_header(),
        attr_text(IFLA.IFNAME, vxlan.ifname),
        lladdr(vxlan.lladdr),
        mtu(vxlan.mtu),
        group(vxlan.group),
        master(vrf_index),
        netns_fd(overlay_fd),
        nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"vxlan"), data),
    )
    return RTM.NEWLINK, F_CREATE | F_EXCL, b"".join(body)


def new_veth(port: VethPort, instance_fd: int, vrf_index: int) -> Message:
    """Return the creation of a veth pair: one end in the VRF here, the peer in the instance's namespace; complete but down."""
    inside = port.inside
    peer = link_header() + attr_text(IFLA.IFNAME, inside.ifname) + lladdr(inside.lladdr) + mtu(port.mtu) + netns_fd(instance_fd)
    body = (
        link_header(),
        attr_text(IFLA.IFNAME, port.ifname),
        lladdr(port.lladdr),
        mtu(port.mtu),
        master(vrf_index),
        nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"veth"), nested(IFLA_INFO.DATA, nested(VETH_INFO.PEER, peer))),
    )
    return RTM.NEWLINK, F_CREATE | F_EXCL, b"".join(body)


def new_cable(end: CableEnd, vrf_index: int, peer_fd: int | None = None) -> Message:
    """Return the message that creates a veth pair: this end complete, the other one with only its name; both down.

    `peer_fd` is a descriptor of the other end's namespace, if that is another one.
    """
    peer = link_header() + attr_text(IFLA.IFNAME, end.peer) + (netns_fd(peer_fd) if peer_fd is not None else b"")
    info = nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"veth"), nested(IFLA_INFO.DATA, nested(VETH_INFO.PEER, peer)))
    return RTM.NEWLINK, F_CREATE | F_EXCL, link_header() + attr_text(IFLA.IFNAME, end.ifname) + cable_end(end, vrf_index) + info


def cable_end(end: CableEnd, vrf_index: int, *, new_mac: bool = True) -> bytes:
    """Return the attributes of an end. Without `new_mac` the MAC is left out: setting even the same MAC flushes neighbours."""
    mac = lladdr(end.lladdr) if new_mac else b""
    return mac + mtu(end.mtu) + group(end.group) + master(vrf_index)


def new_address(index: int, address: str, *, prefix_route: bool = True) -> Message:
    """Return the message that adds an address with prefix length, usable at once (no duplicate address detection).

    `prefix_route`: add the route to its subnet to the main table. F_REPLACE is never used: with it, Linux 6.1 removes the
    local route of an IPv6 /128.
    """
    ip, _, length = address.partition("/")
    raw = packed(ip)
    local = attr(IFA.LOCAL, raw) + attr(IFA.ADDRESS, raw)
    family, flags, scope = _family(raw), IFA_F_NODAD if len(raw) == 16 else 0, 0
    if ip.startswith("fe80:"):
        scope = RT_SCOPE.LINK
    if not prefix_route:
        local += attr_u32(IFA.FLAGS, flags | IFA_F_NOPREFIXROUTE)
    return RTM.NEWADDR, F_CREATE | F_EXCL, _IFADDR.pack(family, int(length), flags, scope, index) + local


def default_route(index: int, gateway: str, table: int = RT_TABLE.MAIN) -> Message:
    """Return the message that adds a table's default route, unless it has one, via a gateway that is assumed to be on-link."""
    raw = packed(gateway)
    head = _RTMSG.pack(_family(raw), 0, 0, 0, 0, RTPROT.BOOT, RT_SCOPE.UNIVERSE, RTN.UNICAST, RTNH_F_ONLINK)
    return RTM.NEWROUTE, F_CREATE | F_EXCL, head + attr(RTA.GATEWAY, raw) + attr_u32(RTA.OIF, index) + attr_u32(RTA.TABLE, table)


def subnet_route(index: int, prefix: str, table: int) -> Message:
    """Return the message that adds a table's on-link route to a device's own subnet."""
    network, _, length = prefix.partition("/")
    raw = packed(network)
    head = _RTMSG.pack(_family(raw), int(length), 0, 0, 0, RTPROT.BOOT, RT_SCOPE.LINK, RTN.UNICAST, 0)
    return RTM.NEWROUTE, F_CREATE | F_EXCL, head + attr(RTA.DST, raw) + attr_u32(RTA.OIF, index) + attr_u32(RTA.TABLE, table)


def lookup_rule(
    version: int, priority: int, table: int, *, source: str = "", destination: str = "", but_default: bool = False
) -> Message:
    """Return the rule `from SOURCE to DESTINATION lookup TABLE`, both prefixes; `but_default` skips the default route."""
    ends = [(FRA.DST, destination), (FRA.SRC, source)]
    found = [(kind, packed(network), int(length)) for kind, text in ends for network, _, length in [text.partition("/")] if text]
    lengths = {kind: length for kind, _, length in found}
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    body = _RTMSG.pack(family, lengths.get(FRA.DST, 0), lengths.get(FRA.SRC, 0), 0, 0, 0, 0, FR_ACT.TO_TBL, 0)
    body += b"".join(attr(kind, raw) for kind, raw, _ in found)
    body += attr_u32(FRA.PRIORITY, priority) + attr_u32(FRA.TABLE, table) + attr(FRA.PROTOCOL, bytes((PROTOCOL,)))
    return RTM.NEWRULE, F_CREATE | F_EXCL, body + (attr_u32(FRA.SUPPRESS_PREFIXLEN, 0) if but_default else b"")


def pack(obj: KernelObject, index_of: IndexOf, *, delete: bool = False, replace: bool = False) -> list[Message]:
    """Return the messages that create, replace or delete one object that is not a device.

    Raises:
      LookupError: the object's device does not exist.
    """
    match obj:
        case Route():
            return [_route(obj, index_of, delete, replace)]
        case Neighbour():
            return [_neighbour(obj, index_of, delete)]
        case Fdb():
            return [_fdb(obj, index_of, delete)]
        case Address():
            kind, flags, body = new_address(index_of(obj.ifname), obj.address)
            return [(RTM.DELADDR, 0, body)] if delete else [(kind, flags, body)]
        case Rule():
            return _rule(obj, delete)
        case AdminUp():
            return [set_up(obj.ifname, up=not delete)]
        case _:
            raise TypeError(f"{type(obj).__name__} has no message")


def _family(raw: bytes) -> int:
    return int(socket.AF_INET if len(raw) == 4 else socket.AF_INET6)


def _route(route: Route, index_of: IndexOf, delete: bool, replace: bool) -> Message:
    ip, _, length = route.dst.partition("/")
    raw = packed(ip)
    family = _family(raw)
    target = attr_u32(RTA.TABLE, route.table) + (attr(RTA.DST, raw) if length != "0" else b"")
    target += attr_u32(RTA.PRIORITY, route.metric)
    if route.mtu and not delete:
        target += nested(RTA.METRICS, attr_u32(RTAX.LOCK, 1 << RTAX.MTU), attr_u32(RTAX.MTU, route.mtu))
    if delete:
        head = _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, RT_SCOPE.NOWHERE, 0, 0)
        return RTM.DELROUTE, 0, head + target
    flags = F_CREATE | (F_REPLACE if replace else F_EXCL)
    if route.type not in (UNICAST, LOCAL):
        return RTM.NEWROUTE, flags, _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, 0, _ROUTE_TYPES[route.type], 0) + target
    target += attr_u32(RTA.OIF, index_of(route.ifname))
    if not route.via:
        scope, kind = (RT_SCOPE.HOST, RTN.LOCAL) if route.type == LOCAL else (RT_SCOPE.LINK, RTN.UNICAST)
        return RTM.NEWROUTE, flags, _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, scope, kind, 0) + target
    head = _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, RT_SCOPE.UNIVERSE, RTN.UNICAST, RTNH_F_ONLINK)
    return RTM.NEWROUTE, flags, head + target + attr(RTA.GATEWAY, packed(route.via))


def _neighbour(neighbour: Neighbour, index_of: IndexOf, delete: bool) -> Message:
    raw = packed(neighbour.dst)
    head = _NDMSG.pack(_family(raw), index_of(neighbour.ifname), NUD_PERMANENT, 0, 0)
    if delete:
        return RTM.DELNEIGH, 0, head + attr(NDA.DST, raw)
    body = head + attr(NDA.DST, raw) + attr(NDA.LLADDR, mac_bytes(neighbour.lladdr)) + attr(NDA.PROTOCOL, bytes((PROTOCOL,)))
    return RTM.NEWNEIGH, F_CREATE | F_REPLACE, body


def _fdb(fdb: Fdb, index_of: IndexOf, delete: bool) -> Message:
    head = _NDMSG.pack(AF_BRIDGE, index_of(fdb.ifname), NUD_PERMANENT, NTF_SELF, 0) + attr(NDA.LLADDR, mac_bytes(fdb.lladdr))
    # Entries are deleted as a whole: given a destination, Linux looks for exactly that one, including its port and VNI.
    return (RTM.DELNEIGH, 0, head) if delete else (RTM.NEWNEIGH, F_CREATE | F_REPLACE, head + attr(NDA.DST, packed(fdb.dst)))


def rule_body(version: int, priority: int, table: int, protocol: int, iif: str = "") -> bytes:
    """Return the body of a `lookup TABLE` rule; table 0 means l3mdev. In a deletion, protocol 0 matches any."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    head = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, FR_ACT.TO_TBL, 0)
    proto = attr(FRA.PROTOCOL, bytes((protocol,))) if protocol else b""
    by = attr(FRA.IIFNAME, iif.encode() + b"\0") if iif else b""
    what = attr_u32(FRA.TABLE, table) if table else attr(FRA.L3MDEV, b"\1")
    return head + attr_u32(FRA.PRIORITY, priority) + what + by + proto


def _rule(rule: Rule, delete: bool) -> list[Message]:
    body = rule_body(rule.version, rule.priority, rule.table, PROTOCOL, rule.iif)
    if rule.table != RT_TABLE.LOCAL:
        return [(RTM.DELRULE, 0, body)] if delete else [(RTM.NEWRULE, F_CREATE | F_EXCL, body)]
    # While the kernel's own rule precedes the VRFs', a local table behind them has no effect, so the two are swapped.
    stock = rule_body(rule.version, 0, RT_TABLE.LOCAL, 0)
    if delete:
        return [(RTM.NEWRULE, F_CREATE | F_EXCL, stock), (RTM.DELRULE, 0, body)]
    return [(RTM.NEWRULE, F_CREATE | F_EXCL, body), (RTM.DELRULE, 0, stock)]
