"""What is not netorch's in its own namespace, found in netlink messages and named. Pure, but for the list of old tables.

Left out is what the kernel makes by itself: its rules and routes, qdiscs without a handle, devices that are down (tunnel modules
put one into every namespace).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from netorch.drivers import netns
from netorch.drivers.netlink import attrs, u32
from netorch.state.foreign import Foreign, ForeignTable
from netorch.state.owner import NFT_TABLE, PROTOCOL

# Source: linux/rtnetlink.h RTPROT_*, RTN_*; linux/fib_rules.h FR_ACT_*; linux/netfilter.h NFPROTO_*
_KERNEL: Final = 2
_ROUTE_KINDS: Final = {6: "blackhole ", 7: "unreachable ", 8: "prohibit ", 9: "throw "}
_RULE_ACTIONS: Final = {2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_NFT_FAMILIES: Final = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_OURS: Final = frozenset({1, 2, 3, 5})  # families that a table of our name is read in


def device(ifname: str) -> Foreign:
    """Return a device that is not ours."""
    return Foreign(what=f"device {ifname}")


def program(ifname: str) -> Foreign:
    """Return the XDP program of a device."""
    return Foreign(what=f"XDP program on {ifname}")


def route(body: bytes) -> Foreign | None:
    """Return somebody's route, or None when it is ours or the kernel's. None of ours is for one type of service."""
    if body[5] == _KERNEL or (body[5] == PROTOCOL and not body[3]):
        return None
    found = attrs(body, 12)
    default = "0.0.0.0" if body[0] == socket.AF_INET else "::"
    dst = socket.inet_ntop(body[0], found[1]) if 1 in found else default
    metric = f" metric {u32(found[6])}" if 6 in found else ""
    return Foreign(what=f"route {_ROUTE_KINDS.get(body[7], '')}{dst}/{body[1]} table {u32(found.get(15, body[4:5]))}{metric}")


def rule(body: bytes) -> Foreign | None:
    """Return a rule, or None when it is the kernel's. Whoever calls this knows that it is not ours."""
    found = attrs(body, 12)
    if found.get(21) == bytes((_KERNEL,)):
        return None
    version = " -6" if body[0] == socket.AF_INET6 else ""
    action = _RULE_ACTIONS.get(body[7], f"lookup {u32(found.get(15, body[4:5]))}")
    return Foreign(what=f"rule{version} pref {u32(found.get(6, b''))} {action}")


def qdisc(body: bytes, names: Mapping[int, str]) -> Foreign | None:
    """Return a queueing discipline that somebody has put on a device (filters need one), or None for the kernel's own."""
    _, index, handle = struct.unpack_from("=BxxxiI", body)
    kind = attrs(body, 20).get(1, b"").rstrip(b"\0").decode(errors="replace")
    return Foreign(what=f"qdisc {kind} on {names.get(index, index)}") if handle else None


def nft_table(body: bytes) -> ForeignTable | None:
    """Return a table of nftables that is not ours. The body begins with nfgenmsg."""
    name = attrs(body, 4).get(1, b"").rstrip(b"\0").decode(errors="replace")
    if name == NFT_TABLE and body[0] in _OURS:
        return None
    return ForeignTable(what=f"nft table {_NFT_FAMILIES.get(body[0], body[0])} {name}")


def old_tables(fd: int) -> Iterator[Foreign]:
    """Yield the tables of iptables, ip6tables and arptables in the namespace of `fd`, as far as they are not kept in nftables."""
    for tool in ("ip", "ip6", "arp"):
        with netns.inside(fd), suppress(FileNotFoundError), open(f"/proc/thread-self/net/{tool}_tables_names") as file:
            yield from (Foreign(what=f"{tool}tables table {name}") for name in file.read().split())
