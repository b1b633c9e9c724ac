"""Connections that end because nothing was sent: of these the kernel keeps no count, but it tells of their end.

Only ends of established TCP connections come, sifted by the kernel. A connection that was closed has another state by then, and
the end of one that somebody has deleted names his socket. Source: net/netfilter/nf_conntrack_netlink.c,
ctnetlink_conntrack_event; include/uapi/linux/netfilter/nf_conntrack_tcp.h.
"""

from __future__ import annotations

import socket
from typing import Final

from netorch.drivers import bpf
from netorch.drivers.conntrack import attrs
from netorch.drivers.conntrack.events import QUEUE_BYTES, READ_BYTES, Happening, join, open_socket
from netorch.drivers.netlink import HEADER, SO_RCVBUFFORCE, arrived, enlarge
from netorch.errors import KernelError

_ESTABLISHED: Final = 3  # TCP_CONNTRACK_ESTABLISHED
_PORT_AT: Final = 12  # nlmsg_pid: the socket that asked for the end; 0: nobody did
_NLATTR, _NLATTR_NEST = 0xFFFFF000 + 12, 0xFFFFF000 + 16  # SKF_AD_OFF + SKF_AD_NLATTR, + SKF_AD_NLATTR_NEST
_ONCE: Final = 1 << 20  # messages: more than a queue holds

# A classic BPF program: the state of TCP, two attributes deep, of a connection that nobody has deleted. Source: linux/filter.h.
_FILTER: Final = [
    (0x20, 0, 0, _PORT_AT),  # A = the word there
    (0x15, 1, 0, 0),
    bpf.IGNORE,
    (0x00, 0, 0, HEADER.size + attrs.NFGENMSG_BYTES),  # A = where attributes begin
    (0x01, 0, 0, attrs.PROTOINFO),  # X = the kind of attribute
    (0x20, 0, 0, _NLATTR),  # A = where it is, 0: nowhere
    (0x15, 6, 0, 0),
    (0x01, 0, 0, attrs.TCP_INFO),
    (0x20, 0, 0, _NLATTR_NEST),
    (0x15, 3, 0, 0),
    (0x01, 0, 0, attrs.TCP_STATE),
    (0x20, 0, 0, _NLATTR_NEST),
    (0x15, 0, 1, 0),
    bpf.IGNORE,
    (0x07, 0, 0, 0),  # X = A
    (0x50, 0, 0, 4),  # A = the byte behind the attribute's header
    (0x15, 1, 0, _ESTABLISHED),
    bpf.IGNORE,
    bpf.PASS,
]


class IdleEnds:
    """A socket that counts these ends in one namespace, from the moment on that it is opened."""

    def __init__(self, netns_fd: int) -> None:
        """Listen. Raises KernelError."""
        self._total = 0
        try:
            self._socket = open_socket(netns_fd)
            enlarge(self._socket, SO_RCVBUFFORCE, socket.SO_RCVBUF, QUEUE_BYTES)
            bpf.attach(self._socket, _FILTER)
            join(self._socket, Happening.END)
        except OSError as error:
            raise KernelError("listen to the connection tracker", error.errno or 0, str(error)) from error

    def total(self) -> int:
        """Return how many there were. Those for which the queue had no room, some 10,000 between two calls, are not counted."""
        self._total += sum(message is not None for message in arrived(self._socket, _ONCE, READ_BYTES))
        return self._total

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
