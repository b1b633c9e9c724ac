"""The named counters of netorch's nftables tables, read by netlink: libnftables would read every element of a table first."""

from __future__ import annotations

import socket
import struct
from typing import Final

from netorch.drivers.base import Count
from netorch.drivers.netlink import HEADER, attrs, split
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.drivers.nft.wire.messages import FAMILIES
from netorch.state.owner import NFT_TABLE

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NEW_OBJECT: Final = 10 << 8 | 18  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWOBJ
_GET_OBJECT: Final = 10 << 8 | 19
_REQUEST_DUMP: Final = 0x301
_NFGENMSG: Final = bytes(4)  # any family
# Attributes. Source: linux/netfilter/nf_tables.h, NFTA_OBJ_* and NFTA_COUNTER_*
_TABLE, _NAME, _TYPE, _DATA = 1, 2, 3, 4
_BYTES, _PACKETS = 1, 2
_COUNTER_TYPE: Final = 1
_NAMES: Final = {number: family for family, number in FAMILIES.items()}
_TIMEOUT_S: Final = 5.0


class CounterReader:
    """A socket in one namespace."""

    def __init__(self) -> None:
        """Open in the calling thread's namespace. Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.settimeout(_TIMEOUT_S)

    def read(self) -> dict[str, dict[str, Count]]:
        """Return the counters of netorch's tables by family and name. Raises OSError. Cost: one dump of a few messages."""
        body = _NFGENMSG + _attribute(_TABLE, NFT_TABLE.encode() + b"\0") + _attribute(_TYPE, struct.pack(">I", _COUNTER_TYPE))
        self._socket.send(HEADER.pack(HEADER.size + len(body), _GET_OBJECT, _REQUEST_DUMP, 0, 0) + body)
        counts: dict[str, dict[str, Count]] = {family: {} for family in FAMILIES}
        while True:
            for kind, _, answer in split(self._socket.recv(1 << 16)):
                if kind == _NLMSG_DONE:
                    return counts
                if kind == _NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", answer)[0], "the kernel does not show its counters")
                if kind == _NEW_OBJECT and answer[0] in _NAMES:
                    found = attrs(answer, len(_NFGENMSG))
                    said = attrs(found[_DATA])
                    packets, size = (int.from_bytes(said[kind], "big") for kind in (_PACKETS, _BYTES))
                    name = found[_NAME].rstrip(b"\0").decode()
                    counts[_NAMES[answer[0]]][name] = Count(packets=packets, bytes=size)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)
