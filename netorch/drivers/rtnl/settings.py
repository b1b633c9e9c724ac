"""Required settings of netorch's devices: deviations found in a link message, and the messages that correct them.

One link message has all of them: flags, tunnel parameters, and the device's sysctls of both IP versions. Every parameter of
an existing VXLAN device that others can change, the agent can change back; any other difference makes it another device
(rtnl.devices.link).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

from netorch.drivers import sysctl
from netorch.drivers.netlink import Channel, Message, attr, attr_text, attr_u32, attrs, nested
from netorch.drivers.rtnl.rooted import VLAN_FLAGS, vlan_flags
from netorch.drivers.rtnl.uapi import (
    IFF_MULTICAST,
    IFF_NOARP,
    IFLA,
    IFLA_INFO,
    IFLA_VLAN,
    IFLA_VXLAN,
    RTM,
)
from netorch.errors import KernelError
from netorch.state.link import Deviation, Settings
from netorch.state.names import is_port
from netorch.state.op import Failure, Op, Replace, describe
from netorch.state.sysctls import DEVICE_V4, DEVICE_V6

_IFINFO = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")
_WITHOUT_ARP: Final = frozenset({"vrf", "xfrm"})  # by nature; they have no multicast either
_SMALLEST_VRF_MTU: Final = 65535  # the kernel gives a new VRF slightly more

# Positions in the arrays IFLA_INET_CONF and IFLA_INET6_CONF. Source: linux/ip.h IPV4_DEVCONF_* (from 1), linux/ipv6.h DEVCONF_*
_V4: Final = {
    "forwarding": 0,
    "proxy_arp": 2,
    "send_redirects": 5,
    "rp_filter": 7,
    "bootp_relay": 9,
    "arp_filter": 12,
    "medium_id": 13,
    "arp_ignore": 18,
    "arp_accept": 20,
    "proxy_arp_pvlan": 24,
    "route_localnet": 25,
    "ignore_routes_with_linkdown": 28,
    "drop_unicast_in_l2_multicast": 29,
    "drop_gratuitous_arp": 30,
    "bc_forwarding": 31,
}
_V6: Final = {
    "forwarding": 0,
    "accept_ra": 3,
    "proxy_ndp": 22,
    "ignore_routes_with_linkdown": 39,
    "drop_unicast_in_l2_multicast": 40,
    "seg6_enabled": 44,
    "rpl_seg_enabled": 51,
}
_MTU6: Final = 2  # follows the device's MTU, so it is only wrong if it was set explicitly
_CHECKED_V4: Final = tuple((name, _V4[name], int(value)) for name, value in DEVICE_V4.items())
_CHECKED_V6: Final = tuple((name, _V6[name], int(value)) for name, value in DEVICE_V6.items())


class _Number(msgspec.Struct, frozen=True):
    """An attribute that must be zero: its kind, its size in bytes, its byte order."""

    kind: int
    size: int
    order: Literal["big", "little"] = sys.byteorder

    def read(self, found: Mapping[int, bytes]) -> int:
        return int.from_bytes(found.get(self.kind, b""), self.order)

    def zero(self) -> bytes:
        return attr(self.kind, bytes(self.size))


_LINK: Final = {"mode": _Number(IFLA.LINKMODE, 1), "protodown": _Number(IFLA.PROTO_DOWN, 1)}
# For VRFs and ports. The groups of VXLAN devices and veth ends are compared with the object, because rules match them. An
# uplink's group is the operator's.
_LINK_AND_GROUP: Final = {**_LINK, "group": _Number(IFLA.GROUP, 4)}
# Parameters that Linux can change on an existing device: vxlan_changelink.
_VXLAN: Final = {
    "remote": _Number(IFLA_VXLAN.GROUP, 4, "big"),
    "dev": _Number(IFLA_VXLAN.LINK, 4),
    "ttl": _Number(IFLA_VXLAN.TTL, 1),
    "tos": _Number(IFLA_VXLAN.TOS, 1),
    "learning": _Number(IFLA_VXLAN.LEARNING, 1),
    "flowlabel": _Number(IFLA_VXLAN.LABEL, 4, "big"),
    "df": _Number(IFLA_VXLAN.DF, 1),
}
# Non-zero by default, or compared elsewhere. Without learning, ageing has no effect.
_VXLAN_NOT_ZERO: Final = frozenset(
    (IFLA_VXLAN.ID, IFLA_VXLAN.LOCAL, IFLA_VXLAN.AGEING, IFLA_VXLAN.PORT, IFLA_VXLAN.UDP_CSUM, IFLA_VXLAN.LOCALBYPASS)
)
_VXLAN_FLAGS: Final = frozenset((IFLA_VXLAN.GBP, IFLA_VXLAN.REMCSUM_NOPARTIAL, IFLA_VXLAN.GPE))  # present only when set


def deviations(
    ifname: str, kind: str, mtu: int, flags: int, found: Mapping[int, bytes], data: bytes, inet: bytes, inet6: bytes
) -> Iterator[Deviation]:
    """Yield the deviations in the link message of a netorch device. Cost: about 5 us.

    Args:
      ifname, kind, mtu, flags: The device's properties in the message.
      found: Its attributes.
      data: The kind-specific ones, IFLA_INFO_DATA.
      inet, inet6: The sysctls of both IP versions, IFLA_INET_CONF and IFLA_INET6_CONF.
    """
    vrf, without_arp = kind == "vrf", kind in _WITHOUT_ARP
    if bool(flags & IFF_NOARP) != without_arp:
        yield Deviation("arp", *(("on", "off") if without_arp else ("off", "on")))
    if bool(flags & IFF_MULTICAST) == without_arp:
        yield Deviation("multicast", *(("on", "off") if without_arp else ("off", "on")))
    if vrf and mtu < _SMALLEST_VRF_MTU:
        yield Deviation("mtu", str(mtu), str(_SMALLEST_VRF_MTU))
    yield from _not_zero("", _LINK_AND_GROUP if vrf or is_port(ifname) else _LINK, found)
    if kind == "vxlan":
        yield from _not_zero("vxlan ", _VXLAN, attrs(data))
    if kind == "vlan" and (said := _value(attrs(data).get(IFLA_VLAN.FLAGS, b""), 0)) not in (None, VLAN_FLAGS):
        yield Deviation("vlan flags", f"{said:#x}", f"{VLAN_FLAGS:#x}")
    yield from _sysctls(ifname, inet, inet6, mtu)


def _not_zero(prefix: str, numbers: Mapping[str, _Number], found: Mapping[int, bytes]) -> Iterator[Deviation]:
    for name, number in numbers.items():
        if value := number.read(found):
            yield Deviation(prefix + name, str(value), "0")


def _sysctls(ifname: str, inet: bytes, inet6: bytes, mtu: int) -> Iterator[Deviation]:
    port = is_port(ifname)
    for name, position, wanted in _CHECKED_V4:
        value = _value(inet, position)
        if value is not None and value != wanted and not (port and name == "proxy_arp"):
            yield Deviation(f"ipv4/conf/{ifname}/{name}", str(value), str(wanted))
    if _value(inet6, 26) != 0:  # the device has IPv6 disabled
        return
    for name, position, wanted in _CHECKED_V6:
        value = _value(inet6, position)
        if value is not None and value != wanted:
            yield Deviation(f"ipv6/conf/{ifname}/{name}", str(value), str(wanted))
    mtu6 = _value(inet6, _MTU6)
    if mtu6 is not None and mtu6 < mtu:
        yield Deviation(f"ipv6/conf/{ifname}/mtu", str(mtu6), str(mtu))


def apply(fd: int, channel: Channel, ops: Iterable[Op]) -> list[Failure]:
    """Correct deviations in the namespace of `fd` and `channel`, and return the refused operations."""
    failures: list[Failure] = []
    for op in ops:
        if not isinstance(op, Replace) or not isinstance(op.old, Settings):
            continue  # a new device has the right settings, a deleted one has none
        deviations = op.old.deviations
        try:
            sysctl.write(fd, [(each.setting, each.wanted) for each in deviations if _is_sysctl(each)])
            for message in [_repair(op.old.ifname, each) for each in deviations if not _is_sysctl(each)]:
                channel.one(message)
        except OSError as error:
            failures.append(Failure(op, KernelError(describe(op), error.errno or 0, str(error))))
    return failures


def is_standard_vxlan(data: Mapping[int, bytes]) -> bool:
    """Return whether the parameters that cannot be changed on an existing VXLAN device are as netorch sets them."""
    changeable = {number.kind for number in _VXLAN.values()}
    others = {kind for kind, value in data.items() if any(value)} - changeable - _VXLAN_NOT_ZERO
    return not others and _VXLAN_FLAGS.isdisjoint(data)


def _is_sysctl(deviation: Deviation) -> bool:
    return "/" in deviation.setting


def _repair(ifname: str, deviation: Deviation) -> Message:
    """Return the message that corrects a deviation of a link."""
    wanted = deviation.wanted
    match deviation.setting.split():
        case ["arp"]:
            return _change(ifname, IFF_NOARP if wanted == "off" else 0, IFF_NOARP)
        case ["multicast"]:
            return _change(ifname, IFF_MULTICAST if wanted == "on" else 0, IFF_MULTICAST)
        case ["mtu"]:
            return _change(ifname, 0, 0, attr_u32(IFLA.MTU, int(wanted)))
        case ["vlan", "flags"]:
            data = nested(IFLA_INFO.DATA, vlan_flags())
            return _change(ifname, 0, 0, nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"vlan"), data))
        case ["vxlan", name]:
            return _change(
                ifname, 0, 0, nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"vxlan"), nested(IFLA_INFO.DATA, _VXLAN[name].zero()))
            )
        case _:
            return _change(ifname, 0, 0, _LINK_AND_GROUP[deviation.setting].zero())


def _change(ifname: str, flags: int, mask: int, *attributes: bytes) -> Message:
    # Not SETLINK, which ignores tunnel parameters.
    return RTM.NEWLINK, 0, _IFINFO.pack(0, 0, 0, flags, mask) + attr_text(IFLA.IFNAME, ifname) + b"".join(attributes)


def _value(array: bytes, position: int) -> int | None:
    return int(_U32.unpack_from(array, 4 * position)[0]) if len(array) >= 4 * position + 4 else None
