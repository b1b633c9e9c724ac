"""Connections that ended by idle timeout. The kernel does not count these, but sends end events.

The kernel filters the events, so that only ends of established TCP connections arrive. A closed connection is in another
state by then, and the end event of a deleted one has the port of the deleting socket. Source:
net/netfilter/nf_conntrack_netlink.c, ctnetlink_conntrack_event; include/uapi/linux/netfilter/nf_conntrack_tcp.h.
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
_PORT_AT: Final = 12  # nlmsg_pid: the socket that requested the deletion; 0: none
_NLATTR, _NLATTR_NEST = 0xFFFFF000 + 12, 0xFFFFF000 + 16  # SKF_AD_OFF + SKF_AD_NLATTR, + SKF_AD_NLATTR_NEST
_ONCE: Final = 1 << 20  # messages: more than fit into the queue

# A classic BPF program: selects by TCP state, two attributes deep, of a connection that was not deleted. Source:
# linux/filter.h.
_FILTER: Final = [
    (0x20, 0, 0, _PORT_AT),  # A = the word at this offset
    (0x15, 1, 0, 0),
    bpf.IGNORE,
    (0x00, 0, 0, HEADER.size + attrs.NFGENMSG_BYTES),  # A = offset of the first attribute
    (0x01, 0, 0, attrs.PROTOINFO),  # X = kind of the attribute
    (0x20, 0, 0, _NLATTR),  # A = its offset, 0: absent
    (0x15, 6, 0, 0),
    (0x01, 0, 0, attrs.TCP_INFO),
    (0x20, 0, 0, _NLATTR_NEST),
    (0x15, 3, 0, 0),
    (0x01, 0, 0, attrs.TCP_STATE),
    (0x20, 0, 0, _NLATTR_NEST),
    (0x15, 0, 1, 0),
    bpf.IGNORE,
    (0x07, 0, 0, 0),  # X = A
    (0x50, 0, 0, 4),  # A = the byte after the attribute's header
    (0x15, 1, 0, _ESTABLISHED),
    bpf.IGNORE,
    bpf.PASS,
]


class IdleEnds:
    """A socket that counts idle timeouts in one namespace, from its opening on."""

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
        """Return the total so far, without those lost because the queue was full: about 10,000 fit between two calls."""
        self._total += sum(message is not None for message in arrived(self._socket, _ONCE, READ_BYTES))
        return self._total

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
