"""Route netlink messages as kernel objects of netorch. Pure; the inverse is netorch.drivers.rtnl.encode.

Devices are decoded in netorch.drivers.rtnl.devices.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final, Literal

from netorch.drivers.netlink import attrs, each_attr, u32
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.uapi import (
    FR_ACT,
    FRA,
    IFA,
    IFADDRMSG,
    NDA,
    NDMSG,
    NUD_PERMANENT,
    RT_TABLE,
    RTA,
    RTAX,
    RTMSG,
    RTN,
    RULEHDR,
    table_of,
)
from netorch.state.base import HOST_SLICE, OVERLAY
from netorch.state.l2 import Fdb
from netorch.state.l3 import BLACKHOLE, LOCAL, UNICAST, UNREACHABLE, VRF_PRIORITY, Address, Neighbour, Route, Rule
from netorch.state.names import vni_of_netns, vni_of_table
from netorch.state.owner import PROTOCOL

_U32 = struct.Struct("=I")
ROUTE_TYPES: Final = {RTN.BLACKHOLE: BLACKHOLE, RTN.UNREACHABLE: UNREACHABLE}


def route(body: bytes, place: Place) -> Route | None:
    """Return the route, or None if it is foreign. A route that netorch would not create has no usable device or next hop."""
    if body[RTMSG.PROTOCOL] != PROTOCOL:
        return None
    found = attrs(body, RTMSG.SIZE)
    family = body[RTMSG.FAMILY]
    dst = socket.inet_ntop(family, found[RTA.DST]) if RTA.DST in found else ("0.0.0.0" if family == socket.AF_INET else "::")
    table, metric = table_of(body, found), u32(found.get(RTA.PRIORITY, b""))
    kind, length = body[RTMSG.TYPE], body[RTMSG.DST_LEN]
    if body[RTMSG.TOS]:
        return None  # a foreign route for one TOS: see foreign.route
    vni = vni_of_table(table) if place.netns == OVERLAY else place.vni
    if kind not in (RTN.UNICAST, RTN.LOCAL):
        shut = ROUTE_TYPES.get(kind, f"type {kind}")
        return Route(netns=place.netns, vni=vni, table=table, dst=f"{dst}/{length}", type=shut, metric=metric)
    via = socket.inet_ntop(family, found[RTA.GATEWAY]) if RTA.GATEWAY in found else ""
    ifname = place.names.get(u32(found.get(RTA.OIF, b"")), "?")
    mtu = _mtu(found[RTA.METRICS]) if RTA.METRICS in found else 0
    if not _ROUTE_OF_OTHERS.isdisjoint(found):
        ifname = "?"
    # A peered VPC's table routes to an address by the device of the VPC with the address: the route belongs to that VPC.
    vni = place.vni_of(ifname) or vni
    return Route(
        netns=place.netns,
        vni=vni,
        table=table,
        dst=f"{dst}/{length}",
        type=LOCAL if kind == RTN.LOCAL else UNICAST,
        ifname=ifname,
        via=via,
        metric=metric,
        mtu=mtu,
    )


def neighbour(body: bytes, place: Place) -> tuple[Neighbour, bool] | None:
    """Return netorch's neighbour and whether it is permanent, as netorch's are; None if it is foreign."""
    found = attrs(body, NDMSG.SIZE)
    if found.get(NDA.PROTOCOL) != _OURS or NDA.DST not in found:
        return None
    ifname = place.names.get(_U32.unpack_from(body, NDMSG.IFINDEX)[0], "?")
    dst, mac = socket.inet_ntop(body[NDMSG.FAMILY], found[NDA.DST]), found.get(NDA.LLADDR, b"").hex(":")
    obj = Neighbour(netns=place.netns, vni=place.vni_of(ifname), ifname=ifname, dst=dst, lladdr=mac)
    return obj, body[NDMSG.STATE] == NUD_PERMANENT


def fdb(body: bytes, place: Place) -> Fdb | None:
    """Return the FDB entry of a VXLAN device of netorch, or None."""
    ifname = place.names.get(_U32.unpack_from(body, NDMSG.IFINDEX)[0], "")
    vni = place.vni_of(ifname)
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
    return Fdb(netns=place.netns, vni=vni, ifname=ifname, lladdr=mac, dst=dst, strange=" ".join(words))


def address(body: bytes, place: Place) -> Address | None:
    """Return the address of a device of netorch, or None."""
    ifname = place.names.get(_U32.unpack_from(body, IFADDRMSG.INDEX)[0], "")
    if not place.is_ours(ifname):
        return None
    text = f"{_ip(body)}/{body[IFADDRMSG.PREFIXLEN]}"
    return Address(netns=place.netns, vni=place.vni_of(ifname), ifname=ifname, address=text)


def rule(body: bytes, netns: str = OVERLAY) -> tuple[Rule, bool]:
    """Return the rule and whether it is netorch's, exactly as netorch creates it.

    The kernel itself creates the rule that looks up packets in their VRF's table, but only with the first VRF. It always
    counts as netorch's, so that the agent restores it.
    """
    found = attrs(body, RULEHDR.SIZE)
    version = 4 if body[RULEHDR.FAMILY] == socket.AF_INET else 6
    of_vrf = found.get(FRA.L3MDEV) == b"\1"
    table = 0 if of_vrf else table_of(body, found)
    iif = found.get(FRA.IIFNAME, b"").rstrip(b"\0").decode(errors="replace")
    priority = u32(found.get(FRA.PRIORITY, b""))
    obj = Rule(netns=netns, vni=vni_of_netns(netns), version=version, priority=priority, table=table, iif=iif)
    ours = found.get(FRA.PROTOCOL) == _OURS or (of_vrf and obj.priority == VRF_PRIORITY)
    for_all = not any(body[RULEHDR.DST_LEN : RULEHDR.TABLE]) and not body[RULEHDR.FLAGS] and found.keys() <= _RULE_ATTRIBUTES
    return obj, ours and body[RULEHDR.ACTION] == FR_ACT.TO_TBL and for_all


def is_stock_local(found: Rule) -> bool:
    """Return whether this is the kernel's own `pref 0 lookup local`, which would expose the host's addresses to VPCs."""
    return found.priority == 0 and found.table == RT_TABLE.LOCAL


def _mtu(raw: bytes) -> int:
    """Return the locked MTU in a route's metrics, or -1 for metrics that netorch would not set."""
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
# All others select packets. SUPPRESS_PREFIXLEN is always present.
_RULE_ATTRIBUTES: Final = frozenset({FRA.IIFNAME, FRA.PRIORITY, FRA.SUPPRESS_PREFIXLEN, FRA.TABLE, FRA.L3MDEV, FRA.PROTOCOL})


def _ip(body: bytes) -> str:
    found = attrs(body, IFADDRMSG.SIZE)
    raw = found.get(IFA.LOCAL) or found.get(IFA.ADDRESS, b"")
    return socket.inet_ntop(body[IFADDRMSG.FAMILY], raw)
