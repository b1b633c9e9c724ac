"""Elements of sets and maps through nf_tables netlink by hand.

libnftables looks at all sets of the namespace before it carries out a command, so that a change for one VPC takes the longer the
more there are of others. A change of elements needs nothing of that but to know how long the parts of a key are; that is in what
the set says of itself (its spec). What is not understood here is left to libnftables.

A key is its parts one after the other, each filled up to four bytes. In a set of intervals it is two keys: all the first
addresses, ports and so on, and all the last ones, in network order; marks too, which else have the machine's own order (nft
puts a conversion into the rules that look there). Source: linux/netfilter/nf_tables.h, and nft_set_pipapo.c of the kernel.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

from netorch.drivers.netlink import F_CREATE, F_REQUEST, HEADER, attr, attr_text, attrs, each_attr, enlarge, nested
from netorch.drivers.nft.commands import Change
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.state.owner import NFT_TABLE

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES: Final = 10  # NFNL_SUBSYS_NFTABLES
NEW_ELEMENTS: Final = _NFTABLES << 8 | 12
GET_ELEMENTS: Final = _NFTABLES << 8 | 13
_DELETE_ELEMENTS: Final = _NFTABLES << 8 | 14
_FAMILIES: Final = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5}  # NFPROTO_*
# Attributes: NFTA_SET_ELEM_LIST_*, NFTA_SET_ELEM_*, NFTA_DATA_*, NFTA_VERDICT_*
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ITEM = 1, 2, 3, 1
_KEY, _DATA, _KEY_END = 1, 2, 10
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_VERDICTS: Final = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
_PER_MESSAGE: Final = 400  # the elements of a message are one attribute: at most 64 KiB
_BUFFER: Final = 8 << 20
_SO_SNDBUFFORCE: Final = 32
_SOL_NETLINK: Final = 270
_CAP_ACK: Final = 10
_MSG_ERROR: Final = 2

Ends = tuple[bytes, bytes]  # the first and the last value that a word stands for


class NotPackable(Exception):
    """An element or set of a kind that is left to libnftables."""


class Layout(NamedTuple):
    """How the elements of one set are packed."""

    fields: tuple[Callable[[str], Ends], ...]
    intervals: bool
    value: Callable[[str], bytes] | None


class ElementSocket:
    """A socket in one namespace."""

    def __init__(self) -> None:
        """Open in the calling thread's namespace. Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        enlarge(self._socket, _SO_SNDBUFFORCE, socket.SO_SNDBUF, _BUFFER)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.bind((0, 0))

    @property
    def port(self) -> int:
        """Return the number that notifications of our own changes carry."""
        return int(self._socket.getsockname()[0])

    def commit(self, messages: bytes) -> int:
        """Carry out a packed transaction and return 0, or the errno of the first refusal: then nothing was done.

        The kernel answers before `send` returns, with refusals only: acknowledgements of many sets would not fit into the
        buffer. Refusals that do not fit are read as one, by ENOBUFS, and those that did are still there to be read.
        """
        first = 0
        try:
            self._socket.send(messages)
        except OSError as error:
            return error.errno or errno.EIO
        while True:
            try:
                answer = self._socket.recv(1 << 12, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return first
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return error.errno or errno.EIO
                first = first or errno.ENOBUFS
                continue
            if HEADER.unpack_from(answer)[1] == _MSG_ERROR:
                first = first or -struct.unpack_from("=i", answer, HEADER.size)[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def pack(changes: Iterable[Change], specs: Callable[[Change], str]) -> bytes:
    """Return the changes as one transaction, in their order; `specs` tells what the set of a change says of itself.

    Raises:
      NotPackable: one of them is of a kind that is not understood here.
    """
    messages = [_message(_BATCH_BEGIN, 0, 0, struct.pack(">H", _NFTABLES))]
    for (add, family, name), group in groupby(changes, key=lambda change: change[:3]):
        items = list(group)
        layout = layout_of(specs(items[0]))
        packed = [_element(change, layout) for change in items]
        head = _set_name(name)
        kind, flags = (NEW_ELEMENTS, F_CREATE) if add else (_DELETE_ELEMENTS, 0)
        for start in range(0, len(packed), _PER_MESSAGE):
            body = head + nested(_LIST_ELEMENTS, *packed[start : start + _PER_MESSAGE])
            messages.append(_message(kind, flags, _FAMILIES[family], bytes(2), body))
    messages.append(_message(_BATCH_END, 0, 0, struct.pack(">H", _NFTABLES)))
    return b"".join(messages)


def refill(family: str, name: str, keys: Iterable[bytes]) -> bytes:
    """Return a transaction that puts these keys into a set in place of all that are there; their time begins anew."""
    head, number = _set_name(name), _FAMILIES[family]
    elements = [nested(_LIST_ITEM, nested(_KEY, attr(_VALUE, key))) for key in keys]
    messages = [
        _message(_BATCH_BEGIN, 0, 0, struct.pack(">H", _NFTABLES)),
        _message(_DELETE_ELEMENTS, 0, number, bytes(2), head),
    ]
    for start in range(0, len(elements), _PER_MESSAGE):
        body = head + nested(_LIST_ELEMENTS, *elements[start : start + _PER_MESSAGE])
        messages.append(_message(NEW_ELEMENTS, F_CREATE, number, bytes(2), body))
    return b"".join((*messages, _message(_BATCH_END, 0, 0, struct.pack(">H", _NFTABLES))))


def of_set(family: str, name: str) -> bytes:
    """Return the body of a request for the elements of a set."""
    return bytes((_FAMILIES[family], 0, 0, 0)) + _set_name(name)


def keys_in(body: bytes) -> Iterator[bytes]:
    """Yield the keys in an answer to such a request."""
    for _, item in each_attr(attrs(body, 4).get(_LIST_ELEMENTS, b"")):
        yield attrs(attrs(item)[_KEY])[_VALUE]


@lru_cache(maxsize=256)
def layout_of(spec: str) -> Layout:
    """Return how elements of a set with this spec are packed. Raises NotPackable."""
    declaration, *others = spec.split("; ")
    flags = [word for word in others if not word.startswith("size ")]  # says nothing of an element
    keyword, _, types = declaration.partition(" ")
    keys, _, value = types.partition(" : ")
    names = keys.split(" . ")
    intervals = flags == ["flags interval"]
    if keyword not in ("type", "typeof") or (flags and not intervals) or (intervals and len(names) == 1):
        raise NotPackable(spec)  # an interval of one part is a pair of elements in a tree
    return Layout(tuple(_field(name, intervals=intervals) for name in names), intervals, _value(value) if value else None)


def _set_name(name: str) -> bytes:
    return attr_text(_LIST_TABLE, NFT_TABLE) + attr_text(_LIST_SET, name)


def _message(kind: int, flags: int, family: int, resource: bytes, body: bytes = b"") -> bytes:
    return HEADER.pack(HEADER.size + 4 + len(body), kind, F_REQUEST | flags, 0, 0) + bytes((family, 0)) + resource + body


def _element(change: Change, layout: Layout) -> bytes:
    words = change.key.split(" . ")
    if len(words) != len(layout.fields):
        raise NotPackable(change.key)
    try:
        if layout.intervals:
            ends = [field(word) for field, word in zip(layout.fields, words, strict=True)]
        else:
            ends = [(_single(field, word),) * 2 for field, word in zip(layout.fields, words, strict=True)]
        parts = [nested(_KEY, attr(_VALUE, _joined(first for first, _ in ends)))]
        if layout.intervals:
            parts.append(nested(_KEY_END, attr(_VALUE, _joined(last for _, last in ends))))
        if change.add and layout.value is not None:
            parts.append(nested(_DATA, layout.value(change.value)))
    except (ValueError, OSError, OverflowError, KeyError) as error:
        raise NotPackable(f"{change.key} : {change.value}") from error
    return nested(_LIST_ITEM, *parts)


def _joined(parts: Iterable[bytes]) -> bytes:
    """Return a key: a single part as it is, of several each filled up to four bytes."""
    first, *others = parts
    return b"".join(part + bytes(-len(part) & 3) for part in (first, *others)) if others else first


def _single(field: Callable[[str], Ends], word: str) -> bytes:
    first, last = field(word)
    if first != last:
        raise ValueError(f"{word} is an interval")
    return first


def _field(name: str, *, intervals: bool) -> Callable[[str], Ends]:
    if name in ("ifname", "iifname"):
        return _ifname
    if name in ("ipv4_addr", "ip saddr", "ip daddr"):
        return _addresses(socket.AF_INET, 4)
    if name == "ipv6_addr":
        return _addresses(socket.AF_INET6, 16)
    if name == "mark":
        return _numbers(4, "big" if intervals else sys.byteorder)
    if name in _NUMBERS:
        return _numbers(_NUMBERS[name], "big")
    if name.startswith("@th,"):  # offset and length in bits
        return _numbers(int(name.rpartition(",")[2]) // 8, "big")
    raise NotPackable(name)


_NUMBERS: Final = {  # bytes
    "inet_proto": 1,
    "inet_service": 2,
    "icmp_type": 1,
    "icmp_code": 1,
    "icmpv6_type": 1,
    "icmpv6_code": 1,
}


def _ifname(word: str) -> Ends:
    if not 0 < len(word) < 16:
        raise ValueError(f"{word} is no name of a device")
    packed = word.encode().ljust(16, b"\0")
    return packed, packed


def _numbers(size: int, order: str) -> Callable[[str], Ends]:
    def field(word: str) -> Ends:
        first, _, last = word.partition("-")
        low = _bytes(first, size, order)
        return low, _bytes(last, size, order) if last else low

    return field


def _addresses(family: int, size: int) -> Callable[[str], Ends]:
    def field(word: str) -> Ends:
        first, _, last = word.partition("-")
        address, _, length = first.partition("/")
        low = socket.inet_pton(family, address)
        if last:
            return low, socket.inet_pton(family, last)
        if length:
            hosts = (1 << (8 * size - int(length))) - 1
            return low, (int.from_bytes(low, "big") | hosts).to_bytes(size, "big")
        return low, low

    return field


def _bytes(word: str, size: int, order: str) -> bytes:
    return int(word, 0).to_bytes(size, "little" if order == "little" else "big")


def _value(name: str) -> Callable[[str], bytes]:
    """Return what packs the values of a map. Raises NotPackable."""
    if name == "verdict":
        return _verdict
    sizes = {"mark": 4, "ct zone": 2}
    if name not in sizes:
        raise NotPackable(name)
    return lambda word: attr(_VALUE, _bytes(word, sizes[name], sys.byteorder))


def _verdict(words: str) -> bytes:
    word, _, chain = words.partition(" ")
    code = attr(_CODE, struct.pack(">i", _VERDICTS[word]))
    return nested(_VERDICT, code, attr_text(_CHAIN, chain) if chain else b"")
