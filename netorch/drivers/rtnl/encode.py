"""Kernel objects as route netlink messages. Pure; the inverse stands in netorch.drivers.rtnl.decode.

`index_of` turns a device's name into its number and raises LookupError when there is none.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Final

from netorch.drivers.netlink import F_CREATE, F_EXCL, F_REPLACE, Message, Refusal, attr, attr_text, attr_u32, nested
from netorch.model.addr import packed
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, UNICAST, UNREACHABLE, Address, Neighbour, Route, Rule
from netorch.state.link import VXLAN_PORT, AdminUp, VethPort, Vrf, Vxlan
from netorch.state.owner import PROTOCOL, altname

IndexOf = Callable[[str], int]

# Message types. Source: linux/rtnetlink.h
NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
NEWRULE, DELRULE, GETRULE = 32, 33, 34
NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
GETNEIGHTBL = 66
NEWNETCONF, DELNETCONF = 80, 81
GETNSID = 90
NEWLINKPROP = 108

AF_BRIDGE: Final = 7
DELETED_GROUP: Final = 0x4E540001  # devices about to be deleted together; nobody else's group has this number
LOCAL_TABLE: Final = 255
MAIN_TABLE: Final = 254
IP_FAMILIES: Final = (int(socket.AF_INET), int(socket.AF_INET6))

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_IFADDR = struct.Struct("=BBBBI")  # family, length, flags, scope, index
_IFF_UP = 1
_IFF_NOARP: Final = 0x80
_NUD_PERMANENT = 0x80
_NTF_SELF = 2
_RTNH_F_ONLINK = 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_UNICAST: Final = 1
_ROUTE_TYPES: Final = {BLACKHOLE: 6, UNREACHABLE: 7}  # linux/rtnetlink.h RTN_*
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 2, 0x200
_RTAX_LOCK, _RTAX_MTU = 1, 2
_TO_TABLE, _L3MDEV = 1, 19
_PROTO_BOOT = 3  # of routes inside an instance, which are the instance's own affair


class NotPackable(LookupError):
    """A message cannot be made; carries the refusal to report in its place."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.detail)


def link_header(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    """Return the fixed head of a link message."""
    return _IFINFO.pack(0, 0, index, flags, change)


def mac_bytes(text: str) -> bytes:
    """Return the six bytes of a MAC."""
    return bytes.fromhex(text.replace(":", ""))


def set_link(ifname: str, *attributes: bytes) -> Message:
    """Return the message that changes a device found by its name."""
    return SETLINK, 0, link_header() + attr_text(3, ifname) + b"".join(attributes)


def set_up(ifname: str, *, up: bool) -> Message:
    """Return the message that brings a device up or down."""
    return SETLINK, 0, link_header(0, int(up), _IFF_UP) + attr_text(3, ifname)


def forget_neighbours(ifname: str) -> list[Message]:
    """Return the messages after which a device knows no neighbour that it has learnt: ARP off and on again.

    Source: net/ipv4/arp.c arp_netdev_event and net/ipv6/ndisc.c ndisc_netdev_event: a changed IFF_NOARP flushes the device.
    """
    return [(SETLINK, 0, link_header(0, flags, _IFF_NOARP) + attr_text(3, ifname)) for flags in (_IFF_NOARP, 0)]


def mtu(value: int) -> bytes:
    """Return the MTU attribute, in bytes."""
    return attr_u32(4, value)


def lladdr(mac: str) -> bytes:
    """Return the MAC attribute."""
    return attr(1, mac_bytes(mac))


def master(index: int) -> bytes:
    """Return the attribute that enslaves a device to the VRF of that number."""
    return attr_u32(10, index)


def alias(text: str) -> bytes:
    """Return the attribute for a device's free text (kept by the kernel, never interpreted)."""
    return attr_text(20, text)


def group(number: int) -> bytes:
    """Return the device group attribute."""
    return attr_u32(27, number)


def netns_fd(fd: int) -> bytes:
    """Return the attribute that puts a device into another namespace."""
    return attr_u32(28, fd)


def mark(ifname: str) -> Message:
    """Return the message that marks a device as ours and complete."""
    return NEWLINKPROP, F_CREATE | F_EXCL, link_header() + attr_text(3, ifname) + nested(52, attr_text(53, altname(ifname)))


def del_link(ifname: str) -> Message:
    """Return the message that deletes one device."""
    return DELLINK, 0, link_header() + attr_text(3, ifname)


def del_group(number: int) -> Message:
    """Return the message that deletes all devices of a group at once, paying the kernel's grace periods once."""
    return DELLINK, 0, link_header() + group(number)


def get_link(ifname: str) -> bytes:
    """Return the body of a question for one device, without its statistics."""
    return link_header() + attr_text(3, ifname) + attr_u32(29, 8)


def new_vrf(vrf: Vrf) -> Message:
    """Return the creation of a VRF device."""
    info = nested(18, attr(1, b"vrf"), nested(2, attr_u32(1, vrf.table)))
    return NEWLINK, F_CREATE | F_EXCL, link_header() + attr_text(3, vrf.ifname) + info


def new_vxlan(vxlan: Vxlan, fabric_fd: int, vrf_index: int) -> Message:
    """Return the creation of a VXLAN device, to be sent in the underlay, where the device then keeps its UDP socket.

    Raises:
      NotPackable: the VTEP is no IPv4 address.
    """
    if ":" in vxlan.local:
        raise NotPackable(Refusal(errno.EAFNOSUPPORT, f"VTEP {vxlan.local} is not IPv4; give the host an IPv4 underlay address"))
    data = nested(
        2,
        attr_u32(1, vxlan.vni),
        attr(4, packed(vxlan.local)),
        attr(7, b"\0"),  # no learning
        attr(15, VXLAN_PORT.to_bytes(2, "big")),
    )
    body = (
        link_header(),
        attr_text(3, vxlan.ifname),
        lladdr(vxlan.lladdr),
        mtu(vxlan.mtu),
        group(vxlan.group),
        master(vrf_index),
        netns_fd(fabric_fd),
        nested(18, attr(1, b"vxlan"), data),
    )
    return NEWLINK, F_CREATE | F_EXCL, b"".join(body)


def new_veth(port: VethPort, instance_fd: int, vrf_index: int) -> Message:
    """Return the creation of a pair: our end here in the VRF, the peer in the instance's namespace, both complete but down."""
    inside = port.inside
    peer = link_header() + attr_text(3, inside.ifname) + lladdr(inside.lladdr) + mtu(port.mtu) + netns_fd(instance_fd)
    body = (
        link_header(),
        attr_text(3, port.ifname),
        lladdr(port.lladdr),
        mtu(port.mtu),
        master(vrf_index),
        nested(18, attr(1, b"veth"), nested(2, nested(1, peer))),
    )
    return NEWLINK, F_CREATE | F_EXCL, b"".join(body)


def new_address(index: int, address: str, *, prefix_route: bool = True) -> Message:
    """Return the addition of an address with prefix length, usable at once (no duplicate address detection).

    `prefix_route`: with the main table's route to its subnet. Never with F_REPLACE: Linux 6.1 then takes the local route of an
    IPv6 /128 away.
    """
    ip, _, length = address.partition("/")
    raw = packed(ip)
    local = attr(2, raw) + attr(1, raw)
    family, flags, scope = _family(raw), _IFA_F_NODAD if len(raw) == 16 else 0, 0
    if ip.startswith("fe80:"):
        scope = _SCOPE_LINK
    if not prefix_route:
        local += attr_u32(8, flags | _IFA_F_NOPREFIXROUTE)
    return NEWADDR, F_CREATE | F_EXCL, _IFADDR.pack(family, int(length), flags, scope, index) + local


def default_route(index: int, gateway: str, table: int = MAIN_TABLE) -> Message:
    """Return a table's default route, if it has none, by way of a gateway that is taken to be on the link."""
    raw = packed(gateway)
    head = _RTMSG.pack(_family(raw), 0, 0, 0, 0, _PROTO_BOOT, _SCOPE_UNIVERSE, _UNICAST, _RTNH_F_ONLINK)
    return NEWROUTE, F_CREATE | F_EXCL, head + attr(5, raw) + attr_u32(4, index) + attr_u32(15, table)


def subnet_route(index: int, prefix: str, table: int) -> Message:
    """Return a table's route to the addresses on a device's own link."""
    network, _, length = prefix.partition("/")
    raw = packed(network)
    head = _RTMSG.pack(_family(raw), int(length), 0, 0, 0, _PROTO_BOOT, _SCOPE_LINK, _UNICAST, 0)
    return NEWROUTE, F_CREATE | F_EXCL, head + attr(1, raw) + attr_u32(4, index) + attr_u32(15, table)


def lookup_rule(
    version: int, priority: int, table: int, *, source: str = "", destination: str = "", but_default: bool = False
) -> Message:
    """Return the rule `from SOURCE to DESTINATION lookup TABLE`, both prefixes; `but_default` skips the table's default route."""
    ends = [(1, destination), (2, source)]
    found = [(kind, packed(network), int(length)) for kind, text in ends for network, _, length in [text.partition("/")] if text]
    lengths = {kind: length for kind, _, length in found}
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    body = _RTMSG.pack(family, lengths.get(1, 0), lengths.get(2, 0), 0, 0, 0, 0, _TO_TABLE, 0)
    body += b"".join(attr(kind, raw) for kind, raw, _ in found)
    body += attr_u32(6, priority) + attr_u32(15, table) + attr(21, bytes((PROTOCOL,)))
    return NEWRULE, F_CREATE | F_EXCL, body + (attr_u32(14, 0) if but_default else b"")


def pack(obj: KernelObject, index_of: IndexOf, *, delete: bool = False, replace: bool = False) -> list[Message]:
    """Return the messages that create, replace or delete one object that is no device of its own.

    Raises:
      LookupError: it stands on a device that does not exist.
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
            return [(DELADDR, 0, body)] if delete else [(kind, flags, body)]
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
    target = attr_u32(15, route.table) + (attr(1, raw) if length != "0" else b"") + attr_u32(6, route.metric)
    if route.mtu and not delete:
        target += nested(8, attr_u32(_RTAX_LOCK, 1 << _RTAX_MTU), attr_u32(_RTAX_MTU, route.mtu))
    if delete:
        head = _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, _SCOPE_NOWHERE, 0, 0)
        return DELROUTE, 0, head + target
    flags = F_CREATE | (F_REPLACE if replace else F_EXCL)
    if route.type != UNICAST:
        return NEWROUTE, flags, _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, 0, _ROUTE_TYPES[route.type], 0) + target
    target += attr_u32(4, index_of(route.ifname))
    if not route.via:
        return NEWROUTE, flags, _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, _SCOPE_LINK, _UNICAST, 0) + target
    head = _RTMSG.pack(family, int(length), 0, 0, 0, PROTOCOL, _SCOPE_UNIVERSE, _UNICAST, _RTNH_F_ONLINK)
    return NEWROUTE, flags, head + target + attr(5, packed(route.via))


def _neighbour(neighbour: Neighbour, index_of: IndexOf, delete: bool) -> Message:
    raw = packed(neighbour.dst)
    head = _NDMSG.pack(_family(raw), index_of(neighbour.ifname), _NUD_PERMANENT, 0, 0)
    if delete:
        return DELNEIGH, 0, head + attr(1, raw)
    body = head + attr(1, raw) + attr(2, mac_bytes(neighbour.lladdr)) + attr(12, bytes((PROTOCOL,)))
    return NEWNEIGH, F_CREATE | F_REPLACE, body


def _fdb(fdb: Fdb, index_of: IndexOf, delete: bool) -> Message:
    head = _NDMSG.pack(AF_BRIDGE, index_of(fdb.ifname), _NUD_PERMANENT, _NTF_SELF, 0) + attr(2, mac_bytes(fdb.lladdr))
    # An entry is deleted as a whole: with a destination Linux looks for exactly that one, its port and VNI included.
    return (DELNEIGH, 0, head) if delete else (NEWNEIGH, F_CREATE | F_REPLACE, head + attr(1, packed(fdb.dst)))


def rule_body(version: int, priority: int, table: int, protocol: int) -> bytes:
    """Return the body of a `lookup TABLE` rule, of VRFs' tables without one; protocol 0 means any when it is deleted."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    head = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    proto = attr(21, bytes((protocol,))) if protocol else b""
    return head + attr_u32(6, priority) + (attr_u32(15, table) if table else attr(_L3MDEV, b"\1")) + proto


def _rule(rule: Rule, delete: bool) -> list[Message]:
    body = rule_body(rule.version, rule.priority, rule.table, PROTOCOL)
    if rule.table != LOCAL_TABLE:
        return [(DELRULE, 0, body)] if delete else [(NEWRULE, F_CREATE | F_EXCL, body)]
    # A local table behind the VRFs' is of no use while the kernel's own rule still puts it first, so the two change places.
    stock = rule_body(rule.version, 0, LOCAL_TABLE, 0)
    if delete:
        return [(NEWRULE, F_CREATE | F_EXCL, stock), (DELRULE, 0, body)]
    return [(NEWRULE, F_CREATE | F_EXCL, body), (DELRULE, 0, stock)]
