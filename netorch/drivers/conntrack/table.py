"""The overlay's conntrack table as a whole: how full it is, the zones of its connections, and blocked zones.

No cost depends on the number of connections. Zones are counted in a sample: the kernel dumps the table in the order of a hash
with a secret key, so its first connections are a random sample that nobody can influence.
Source: linux/netfilter/nfnetlink_conntrack.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import errno
import struct
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final

from netorch.drivers.base import TableUse
from netorch.drivers.conntrack.attrs import zone_of
from netorch.drivers.netlink import Channel, attrs
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.drivers.nft.wire.elements import keys_in, of_set, refill
from netorch.drivers.nft.wire.messages import GET_ELEMENTS, NEW_ELEMENTS
from netorch.errors import KernelError
from netorch.state.nft import OVER_ALLOWANCE, VPC_TABLE

_GET, _GET_STATS_CPU, _GET_STATS = (1 << 8 | number for number in (1, 4, 5))  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_ENTRIES, _MAX_ENTRIES = 1, 2  # CTA_STATS_GLOBAL_*
_INSERT_FAILED, _DROP, _CHAIN_TOO_LONG = 9, 10, 15  # CTA_STATS_*
_NFGENMSG: Final = bytes(4)
_FAMILY: Final = str(VPC_TABLE[2])


class ConnectionTable:
    """A socket in one namespace. Only one thread at a time may use it."""

    def __init__(self, netns_fd: int) -> None:
        """Open; `netns_fd` must stay open. Raises OSError."""
        self._netns_fd = netns_fd
        self._channel = Channel(netns_fd, NETLINK_NETFILTER)

    def use(self) -> TableUse:
        """Return how full the table is. Raises KernelError."""
        try:
            found = attrs(self._channel.get(_GET_STATS, _NFGENMSG) or b"", len(_NFGENMSG))
        except OSError as error:
            raise KernelError("read the fill level of the connection table", error.errno or 0, str(error)) from error
        return TableUse(held=_number(found.get(_ENTRIES)), most=_number(found.get(_MAX_ENTRIES)))

    def turned_away(self) -> int:
        """Return how many packets conntrack has dropped for lack of room. Raises KernelError.

        The kernel also counts a lost race between two packets of a new connection as a drop; this method subtracts those.
        """
        return sum(max(0, _number(cpu.get(_DROP)) - _number(cpu.get(_INSERT_FAILED))) for cpu in self._counts())

    def clashes(self) -> int:
        """Return how many connections failed because another one has the same tuple. Raises KernelError.

        With source port translation, these are connections for which no port was free. The kernel also counts insertions into
        a too long hash chain; this method subtracts those.
        """
        return sum(_number(cpu.get(_INSERT_FAILED)) - _number(cpu.get(_CHAIN_TOO_LONG)) for cpu in self._counts())

    def _counts(self) -> list[dict[int, bytes]]:
        """Return the counters of each CPU."""
        try:
            answers = self._channel.dump(_GET_STATS_CPU, _NFGENMSG)
        except OSError as error:
            raise KernelError("read the drop counters of the connection tracker", error.errno or 0, str(error)) from error
        return [attrs(body, len(_NFGENMSG)) for _, _, body in answers]

    def sample(self, size: int) -> dict[int, int]:
        """Return the number of the first `size` connections by zone; all, if there are fewer. Raises KernelError."""
        try:
            channel = Channel(self._netns_fd, NETLINK_NETFILTER)  # its own socket: closing it aborts the dump
            try:
                return Counter(zone_of(body) for _, _, body in islice(channel.stream(_GET, _NFGENMSG), size))
            finally:
                channel.close()
        except OSError as error:
            raise KernelError("count connections by zone", error.errno or 0, str(error)) from error

    def refused(self) -> frozenset[int]:
        """Return the zones that cannot open new connections at present. Raises KernelError."""
        try:
            answers = self._channel.dump(GET_ELEMENTS, of_set(_FAMILY, OVER_ALLOWANCE))
        except OSError as error:
            if error.errno == errno.ENOENT:  # the table does not exist yet
                return frozenset()
            raise KernelError(f"read set {OVER_ALLOWANCE}", error.errno or 0, str(error)) from error
        keys = [key for kind, _, body in answers if kind == NEW_ELEMENTS for key in keys_in(body)]
        return frozenset(int.from_bytes(key[:2], sys.byteorder) for key in keys)

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()


def refusing(name: str, zones: Iterable[int]) -> bytes:
    """Return the transaction that fills a set with exactly these zones; they cannot open connections for some seconds."""
    return refill(_FAMILY, name, [struct.pack("=H", zone) for zone in sorted(zones)])


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", "big")
