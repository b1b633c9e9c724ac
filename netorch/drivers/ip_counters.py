"""What a namespace's IPv4 has counted by itself, beside nftables: fragments that it had no memory for, echoes that have come.

IPv6 fragments lie in a memory of connection tracking's own, which nothing shows. Source: RFC 4293 (ipSystemStatsReasmFails),
net/ipv4/ip_fragment.c, net/ipv4/proc.c.
"""

from __future__ import annotations

import os
from pathlib import Path

from netorch.drivers import netns
from netorch.errors import KernelError


class IpCounters:
    """Reads /proc/net/snmp of one namespace."""

    def __init__(self, netns_fd: int) -> None:
        """Open; afterwards the namespace of the caller does not matter. Raises OSError."""
        with netns.inside(netns_fd):
            self._fd = os.open(Path("/proc/thread-self/net/snmp"), os.O_RDONLY | os.O_CLOEXEC)

    def fragments_lost(self) -> int:
        """Return how often a packet could not be put together for another reason than time. Raises KernelError."""
        try:
            return lost_in(os.pread(self._fd, 1 << 16, 0).decode())
        except OSError as error:
            raise KernelError("read what IPv4 has counted", error.errno or 0, str(error)) from error

    def echoes(self) -> int:
        """Return how many ICMP echoes have come to the namespace. Raises KernelError."""
        try:
            return echoes_in(os.pread(self._fd, 1 << 16, 0).decode())
        except OSError as error:
            raise KernelError("read what ICMP has counted", error.errno or 0, str(error)) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def lost_in(text: str) -> int:
    """Return the failures of reassembly that /proc/net/snmp shows, without those for which the time was over."""
    found = _counts(text, "Ip")
    return max(0, found["ReasmFails"] - found["ReasmTimeout"])


def echoes_in(text: str) -> int:
    """Return the ICMP echo requests that /proc/net/snmp shows as received."""
    return _counts(text, "Icmp")["InEchos"]


def _counts(text: str, protocol: str) -> dict[str, int]:
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith(f"{protocol}: "))
    return dict(zip(names, map(int, values), strict=True))
