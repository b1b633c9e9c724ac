"""The bird of an edge's overlay namespace: sessions with customers' routers, each in the VRF of its device.

    learned_<table>      bird's table for a Linux routing table: customers' announcements, and netorch's own routes there
    linux_<table>        exports the best learned routes to Linux, and imports netorch's own routes (proto 200)
    announced_<table>    prefixes announced to customers
    bfd_<vrf>            BFD of the sessions in a VRF
    customer_<name>      a session

bird stores a route's metric as its preference, 65535 minus the metric, so only the metric decides. bird exports a route for a
prefix to Linux only if no route of netorch's own is better. All exported routes have the same Linux metric: when bird 2.0.12
replaces a route by one with another metric, it does not delete the old one, which would stay in use (sysdep/linux/netlink.c,
krt_replace_rte). The real metric is stored in `reordering`, which only affects TCP connections from this host, and none uses
that table.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from itertools import chain
from typing import ClassVar, Final, Self

from netorch.drivers.bird.config import BFD, Config, Session, block, password_line
from netorch.drivers.bird.control import Refused
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import LEARNED_METRIC, CustomerPeer
from netorch.state.owner import PROTOCOL

# Never behind a customer's router: this host, loopback, link-local, multicast and reserved. A default route is allowed.
REFUSED: Final = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
MOST_HOPS: Final = 999  # cap of the AS path length, so that it never changes the rank between kinds of routes
_WORST: Final = 65535
_METRIC_LAST: Final = _WORST - MOST_HOPS - 1
_ASN_LAST: Final = 0xFFFFFFFF
_TABLE_LAST: Final = (1 << 31) - 1
_NAME: Final = re.compile(r"\w{1,50}", re.ASCII)  # bird allows 64 characters, including the prefix
_DEVICE: Final = re.compile(r"[\w.-]{1,15}", re.ASCII)
_ROUTER_ID: Final = "192.0.0.8"  # constant, because a change restarts all sessions. A session's own is its local address.


class Customers(Config, frozen=True, kw_only=True):
    """Sessions with customers' routers."""

    kinds: ClassVar[frozenset[str]] = frozenset({CustomerPeer.kind})
    refused: ClassVar[str] = (
        "packets arrived with another key than their session has, or with none: perhaps packets of this session"
    )

    peers: tuple[CustomerPeer, ...] = ()

    @classmethod
    def of(cls, name: str, objects: Iterable[KernelObject]) -> Self:
        return cls(name=name, peers=tuple(obj for obj in objects if isinstance(obj, CustomerPeer)))

    @property
    def objects(self) -> tuple[KernelObject, ...]:
        return self.peers

    @property
    def sessions(self) -> tuple[Session, ...]:
        return self.peers

    @property
    def comparing(self) -> str:
        return f"linux_{self.peers[0].table}" if self.peers else ""  # any of them: bird compares all tables

    @staticmethod
    def protocols_of(obj: KernelObject) -> tuple[str, ...]:
        assert isinstance(obj, CustomerPeer)
        bfd = (_bfd_name(obj.vrf),) if obj.bfd else ()
        return (f"customer_{obj.name}", f"linux_{obj.table}", f"announced_{obj.table}", *bfd)

    @staticmethod
    def check(obj: KernelObject) -> None:
        assert isinstance(obj, CustomerPeer)
        problem = problem_of(obj)
        if problem:
            raise Refused(problem, errno.EINVAL)

    def blocks(self, passwords: Mapping[str, str]) -> Iterator[str]:
        yield f"router id {_ROUTER_ID};\nprotocol device {{ }}\n"
        for vrf in sorted({peer.vrf for peer in self.peers if peer.bfd}):
            yield block(f"protocol bfd {_bfd_name(vrf)}", f'vrf "{vrf}";', "accept ipv4 direct;")
        announced: dict[int, set[str]] = {}
        for peer in self.peers:
            announced.setdefault(peer.table, set()).update(peer.announces)
        for table, prefixes in sorted(announced.items()):
            yield from _table(table, sorted(prefixes))
        for peer in self.peers:
            yield _session(self.protocol_of(peer), peer, passwords)


def problem_of(peer: CustomerPeer) -> str:
    """Return why a session cannot be configured in bird, or an empty string. No value may end a token of bird's file."""
    if not _NAME.fullmatch(peer.name) or not all(map(_DEVICE.fullmatch, (peer.ifname, peer.vrf))):
        return f"{peer.name}: names have letters and digits; it is on {peer.ifname} in {peer.vrf}"
    numbers = {
        "AS number": (1, _ASN_LAST, (peer.local_asn, peer.remote_asn)),
        "table": (1, _TABLE_LAST, (peer.table,)),
        "metric": (LEARNED_METRIC + 1, _METRIC_LAST, (peer.metric,)),
        "limit": (1, _WORST, (peer.limit,)),
    }
    for what, (first, last, found) in numbers.items():
        for number in found:
            if not first <= number <= last:
                return f"{peer.name}: {what} {number} is not from {first} to {last}"
    try:
        _ = [IPv4Address(address) for address in (peer.local, peer.remote)]
        _ = [IPv4Network(prefix) for prefix in chain(peer.announces, peer.refuses)]
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        return f"{peer.name}: {error}"
    return ""


def _bfd_name(vrf: str) -> str:
    return f"bfd_{re.sub(r'[^0-9A-Za-z]', '_', vrf)}"


def _table(table: int, prefixes: Iterable[str]) -> Iterator[str]:
    own = f"krt_source != {PROTOCOL} || krt_metric <= {LEARNED_METRIC} || krt_metric >= {_WORST}"
    yield f"ipv4 table learned_{table};\n"
    yield block(
        f"protocol kernel linux_{table}",
        f"kernel table {table};",
        f"metric {LEARNED_METRIC};",
        "learn;",
        "ipv4 {",
        f"  table learned_{table};",
        f"  import filter {{ if {own} then reject; preference = {_WORST} - krt_metric; accept; }};",
        f"  export filter {{ if source != RTS_BGP then reject; krt_reordering = {_WORST} - preference; accept; }};",
        "};",
    )
    yield block(
        f"protocol static announced_{table}",
        f"ipv4 {{ table learned_{table}; preference {_WORST}; }};",
        *(f"route {prefix} unreachable;" for prefix in prefixes),
    )


def _session(name: str, peer: CustomerPeer, passwords: Mapping[str, str]) -> str:
    refused = ", ".join(f"{prefix}+" for prefix in (*REFUSED, *peer.refuses))
    announced = f"where source = RTS_STATIC && net ~ [ {', '.join(peer.announces)} ]" if peer.announces else "none"
    return block(
        f"protocol bgp {name}",
        f'vrf "{peer.vrf}";',
        f'interface "{peer.ifname}";',
        f"router id {peer.local};",
        f"local {peer.local} as {peer.local_asn};",
        f"neighbor {peer.remote} as {peer.remote_asn};",
        password_line(passwords, name),
        BFD if peer.bfd else "",
        "hold time 30;",
        "keepalive time 10;",
        "connect delay time 1;",
        "connect retry time 5;",
        "error wait time 1, 10;",
        "graceful restart off;",  # a router's routes are withdrawn with its session
        "ipv4 {",
        f"  table learned_{peer.table};",
        f"  import limit {peer.limit} action restart;",
        "  import filter {",
        f"    if net ~ [ {refused} ] then reject;",
        f"    if bgp_path.len > {MOST_HOPS} then preference = {_WORST - peer.metric - MOST_HOPS};",
        f"    else preference = {_WORST - peer.metric} - bgp_path.len;",
        "    accept;",
        "  };",
        f"  export {announced};",
        "};",
    )
