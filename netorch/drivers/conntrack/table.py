"""The overlay's connection table as a whole: how full it is, whose connections those are, and who may not open new ones.

None of it costs more when the table is fuller. Zones are counted on a sample: the kernel shows the table in the order of a hash
with a secret key, so its first connections are as good as drawn by lot, whoever made them.
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
    """A socket in one namespace. One thread at a time may use it."""

    def __init__(self, netns_fd: int) -> None:
        """Open; `netns_fd` must stay open. Raises OSError."""
        self._netns_fd = netns_fd
        self._channel = Channel(netns_fd, NETLINK_NETFILTER)

    def use(self) -> TableUse:
        """Return how full the table is. Raises KernelError."""
        try:
            found = attrs(self._channel.get(_GET_STATS, _NFGENMSG) or b"", len(_NFGENMSG))
        except OSError as error:
            raise KernelError("read how full the connection table is", error.errno or 0, str(error)) from error
        return TableUse(held=_number(found.get(_ENTRIES)), most=_number(found.get(_MAX_ENTRIES)))

    def turned_away(self) -> int:
        """Return how many packets the connection tracker has dropped because it could not take them up. Raises KernelError.

        The kernel counts a lost race between two packets that begin one connection as dropped, too, and beside that as such.
        """
        return sum(max(0, _number(cpu.get(_DROP)) - _number(cpu.get(_INSERT_FAILED))) for cpu in self._counts())

    def clashes(self) -> int:
        """Return how many connections could not begin because another one has the same ends. Raises KernelError.

        Where source ports are translated these are the ones for which no port was free. What the kernel turned away because too
        many others were in its place of the table is counted with them, and beside that as such.
        """
        return sum(_number(cpu.get(_INSERT_FAILED)) - _number(cpu.get(_CHAIN_TOO_LONG)) for cpu in self._counts())

    def _counts(self) -> list[dict[int, bytes]]:
        """Return what each CPU has counted."""
        try:
            answers = self._channel.dump(_GET_STATS_CPU, _NFGENMSG)
        except OSError as error:
            raise KernelError("read what the connection tracker dropped", error.errno or 0, str(error)) from error
        return [attrs(body, len(_NFGENMSG)) for _, _, body in answers]

    def sample(self, size: int) -> dict[int, int]:
        """Return how many of the first `size` connections each zone has; all that live if there are fewer. Raises KernelError."""
        try:
            channel = Channel(self._netns_fd, NETLINK_NETFILTER)  # one of its own: closing it ends the dump before its end
            try:
                return Counter(zone_of(body) for _, _, body in islice(channel.stream(_GET, _NFGENMSG), size))
            finally:
                channel.close()
        except OSError as error:
            raise KernelError("count connections by zone", error.errno or 0, str(error)) from error

    def refused(self) -> frozenset[int]:
        """Return the zones that may begin no connection now. Raises KernelError."""
        try:
            answers = self._channel.dump(GET_ELEMENTS, of_set(_FAMILY, OVER_ALLOWANCE))
        except OSError as error:
            if error.errno == errno.ENOENT:  # no such table yet
                return frozenset()
            raise KernelError(f"read set {OVER_ALLOWANCE}", error.errno or 0, str(error)) from error
        keys = [key for kind, _, body in answers if kind == NEW_ELEMENTS for key in keys_in(body)]
        return frozenset(int.from_bytes(key[:2], sys.byteorder) for key in keys)

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()


def refusing(name: str, zones: Iterable[int]) -> bytes:
    """Return the transaction after which a set has these zones, and no others: they begin no connection for some seconds."""
    return refill(_FAMILY, name, [struct.pack("=H", zone) for zone in sorted(zones)])


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", "big")
