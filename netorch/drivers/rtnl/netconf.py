"""Notifications about sysctls of devices and of the whole namespace. Pure."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Final

from netorch.drivers.netlink import attrs, u32
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.uapi import NETCONFA, NETCONFMSG
from netorch.state.link import Sysctl
from netorch.state.names import is_port
from netorch.state.sysctls import DEVICE_V4, DEVICE_V6, pinned


def sysctls(body: bytes, place: Place) -> Iterator[Sysctl]:
    """Yield netorch's sysctls in a message."""
    found = attrs(body, NETCONFMSG.SIZE)
    index = int.from_bytes(found.get(NETCONFA.IFINDEX, b""), sys.byteorder, signed=True)
    if body[NETCONFMSG.FAMILY] == socket.AF_INET and index > 0 and NETCONFA.PROXY_NEIGH in found:
        ifname = place.names.get(index, "")
        if is_port(ifname):
            path, value = f"ipv4/conf/{ifname}/proxy_arp", str(u32(found[NETCONFA.PROXY_NEIGH]))
            yield Sysctl(netns=place.netns, vni=place.vni_of(ifname), path=path, value=value, ifname=ifname)
    inet, which = body[NETCONFMSG.FAMILY] == socket.AF_INET, {_ALL: "all", _DEFAULT: "default"}.get(index, "")
    for kind, (name4, name6) in _NETCONF.items():
        path = f"ipv4/conf/{which}/{name4}" if inet else f"ipv6/conf/{which}/{name6}"
        if kind in found and path in pinned(place.netns):
            yield Sysctl(netns=place.netns, vni=place.vni, path=path, value=str(u32(found[kind])))


def deviates(body: bytes, place: Place) -> bool:
    """Return whether a device of netorch got a value other than the required one; a dump shows all deviations."""
    found = attrs(body, NETCONFMSG.SIZE)
    ifname = place.names.get(u32(found.get(NETCONFA.IFINDEX, b"")), "")
    if not place.is_ours(ifname):
        return False
    inet = body[NETCONFMSG.FAMILY] == socket.AF_INET
    wanted = DEVICE_V4 if inet else DEVICE_V6
    for kind, (name4, name6) in _NETCONF.items():
        name = name4 if inet else name6
        of_port = name == "proxy_arp" and is_port(ifname)
        if kind in found and name in wanted and str(u32(found[kind])) != wanted[name] and not of_port:
            return True
    return False


_ALL, _DEFAULT = -1, -2
# Values that a netconf message may have, by their names for IPv4 and IPv6.
_NETCONF: Final = {
    NETCONFA.FORWARDING: ("forwarding", "forwarding"),
    NETCONFA.RP_FILTER: ("rp_filter", ""),
    NETCONFA.PROXY_NEIGH: ("proxy_arp", "proxy_ndp"),
    NETCONFA.IGNORE_ROUTES_WITH_LINKDOWN: ("ignore_routes_with_linkdown", "ignore_routes_with_linkdown"),
    NETCONFA.BC_FORWARDING: ("bc_forwarding", ""),
}
