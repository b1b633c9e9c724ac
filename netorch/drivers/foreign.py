"""Foreign objects in netorch's namespaces, named from netlink messages. Pure, except for the list of old tables.

Objects that the kernel creates itself are left out: its rules and routes, and devices that are down (tunnel modules create
one in every namespace).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from netorch.drivers import netns
from netorch.drivers.netlink import attrs, u32
from netorch.drivers.rtnl.uapi import FR_ACT, FRA, RTA, RTMSG, RTN, RTPROT, RULEHDR, table_of
from netorch.state.base import OUTSIDE
from netorch.state.foreign import Foreign, ForeignTable
from netorch.state.owner import NFT_TABLE, PROTOCOL

_EXPECTED: Final = (RTPROT.KERNEL, RTPROT.BIRD)  # BIRD: routes of netorch.drivers.bird.customers
_ROUTE_TYPES: Final = {
    RTN.BLACKHOLE: "blackhole ",
    RTN.UNREACHABLE: "unreachable ",
    RTN.PROHIBIT: "prohibit ",
    RTN.THROW: "throw ",
}
_RULE_ACTIONS: Final = {
    FR_ACT.GOTO: "goto",
    FR_ACT.NOP: "nop",
    FR_ACT.BLACKHOLE: "blackhole",
    FR_ACT.UNREACHABLE: "unreachable",
    FR_ACT.PROHIBIT: "prohibit",
}
# Source: linux/netfilter.h NFPROTO_*
_NFT_FAMILIES: Final = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_OURS: Final = frozenset({1, 2, 3, 5})  # families in which netorch reads the table of its name


def device(ifname: str, netns: str) -> Foreign:
    """Return a device that is not netorch's."""
    return Foreign(netns=netns, what=f"device {ifname}")


def program(ifname: str, netns: str) -> Foreign:
    """Return the XDP program of a device."""
    return Foreign(netns=netns, what=f"XDP program on {ifname}")


def route(body: bytes, netns: str) -> Foreign | None:
    """Return a foreign route; None if the route is netorch's, the kernel's, or learned. netorch has no routes with a TOS.

    Always None in the outside namespace: routing daemons add routes there.
    """
    if netns == OUTSIDE:
        return None
    if body[RTMSG.PROTOCOL] in _EXPECTED or (body[RTMSG.PROTOCOL] == PROTOCOL and not body[RTMSG.TOS]):
        return None
    found = attrs(body, RTMSG.SIZE)
    default = "0.0.0.0" if body[RTMSG.FAMILY] == socket.AF_INET else "::"
    dst = socket.inet_ntop(body[RTMSG.FAMILY], found[RTA.DST]) if RTA.DST in found else default
    metric = f" metric {u32(found[RTA.PRIORITY])}" if RTA.PRIORITY in found else ""
    return Foreign(
        netns=netns,
        what=f"route {_ROUTE_TYPES.get(body[RTMSG.TYPE], '')}{dst}/{body[RTMSG.DST_LEN]} table {table_of(body, found)}{metric}",
    )


def rule(body: bytes, netns: str) -> Foreign | None:
    """Return a foreign rule; None if it is the kernel's. The caller has checked that it is not netorch's."""
    found = attrs(body, RULEHDR.SIZE)
    if found.get(FRA.PROTOCOL) == bytes((RTPROT.KERNEL,)):
        return None
    version = " -6" if body[RULEHDR.FAMILY] == socket.AF_INET6 else ""
    action = _RULE_ACTIONS.get(body[RULEHDR.ACTION], f"lookup {table_of(body, found)}")
    return Foreign(netns=netns, what=f"rule{version} pref {u32(found.get(FRA.PRIORITY, b''))} {action}")


def nft_table(body: bytes, netns: str) -> ForeignTable | None:
    """Return an nftables table that is not netorch's. The body begins with nfgenmsg."""
    name = attrs(body, 4).get(1, b"").rstrip(b"\0").decode(errors="replace")
    if name == NFT_TABLE and body[0] in _OURS:
        return None
    return ForeignTable(netns=netns, what=f"nft table {_NFT_FAMILIES.get(body[0], body[0])} {name}")


def old_tables(fd: int, label: str) -> Iterator[Foreign]:
    """Yield the legacy (not nftables-backed) tables of iptables, ip6tables and arptables in the namespace of `fd`."""
    for tool in ("ip", "ip6", "arp"):
        with netns.inside(fd), suppress(FileNotFoundError), open(f"/proc/thread-self/net/{tool}_tables_names") as file:
            yield from (Foreign(netns=label, what=f"{tool}tables table {name}") for name in file.read().split())
