"""IPv4 counters of a namespace that nftables does not have: failed reassemblies, and received echoes.

IPv6 fragments use conntrack's own memory, and no counter shows them. Source: RFC 4293 (ipSystemStatsReasmFails),
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
        """Open the file in the given namespace; later reads work from any namespace. Raises OSError."""
        with netns.inside(netns_fd):
            self._fd = os.open(Path("/proc/thread-self/net/snmp"), os.O_RDONLY | os.O_CLOEXEC)

    def fragments_lost(self) -> int:
        """Return the number of failed reassemblies that were not timeouts. Raises KernelError."""
        try:
            return lost_in(os.pread(self._fd, 1 << 16, 0).decode())
        except OSError as error:
            raise KernelError("read the IPv4 counters", error.errno or 0, str(error)) from error

    def echoes(self) -> int:
        """Return the number of ICMP echoes that the namespace has received. Raises KernelError."""
        try:
            return echoes_in(os.pread(self._fd, 1 << 16, 0).decode())
        except OSError as error:
            raise KernelError("read the ICMP counters", error.errno or 0, str(error)) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def lost_in(text: str) -> int:
    """Return the reassembly failures in /proc/net/snmp, without timeouts."""
    found = _counts(text, "Ip")
    return max(0, found["ReasmFails"] - found["ReasmTimeout"])


def echoes_in(text: str) -> int:
    """Return the received ICMP echo requests in /proc/net/snmp."""
    return _counts(text, "Icmp")["InEchos"]


def _counts(text: str, protocol: str) -> dict[str, int]:
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith(f"{protocol}: "))
    return dict(zip(names, map(int, values), strict=True))
