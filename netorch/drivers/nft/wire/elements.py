"""Elements of sets and maps through hand-packed nf_tables netlink.

libnftables examines all sets of the namespace before each command, so a change for one VPC takes longer the more other VPCs
there are. A change of elements only needs the lengths of the parts of a key, which the set's declaration (its spec) gives.
Specs unknown to this module are left to libnftables.

A key is the concatenation of its parts, each padded to four bytes. An element of an interval set has two keys: one with all
first addresses, ports and so on, and one with all last ones. Both are in network order, including marks, which are otherwise
in host order (nft adds a byteorder conversion to rules that look up there). Source: linux/netfilter/nf_tables.h, and
nft_set_pipapo.c of the kernel.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

from netorch.drivers.netlink import attr, attr_text, attrs, each_attr, nested
from netorch.drivers.nft.commands import ElementChange
from netorch.drivers.nft.wire.messages import (
    CHAIN,
    CODE,
    DELETE_ELEMENTS,
    FAMILIES,
    ITEM,
    NEW_ELEMENTS,
    VALUE,
    VERDICT,
    VERDICTS,
    NotPackable,
    message,
    transaction,
)
from netorch.state.owner import NFT_TABLE

# Attributes: NFTA_SET_ELEM_LIST_*, NFTA_SET_ELEM_*
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _DATA, _KEY_END = 1, 2, 10
_PER_MESSAGE: Final = 400  # an attribute holds all elements of a message: at most 64 KiB

Ends = tuple[bytes, bytes]  # the first and last value that a word denotes


class Layout(NamedTuple):
    """How a set's elements are packed."""

    fields: tuple[Callable[[str], Ends], ...]
    intervals: bool
    value: Callable[[str], bytes] | None


def pack(changes: Iterable[ElementChange], specs: Callable[[ElementChange], str]) -> list[bytes]:
    """Return the changes as messages, in order; `specs` returns the spec of a change's set.

    Raises:
      NotPackable: a change is of a kind unknown to this module.
    """
    messages: list[bytes] = []
    for (add, family, name), group in groupby(changes, key=lambda change: change[:3]):
        items = list(group)
        layout = layout_of(specs(items[0]))
        messages += _of_elements(add, family, name, [_element(change, layout) for change in items])
    return messages


def refill(family: str, name: str, keys: Iterable[bytes]) -> bytes:
    """Return a transaction that replaces all elements of a set by these keys; their timeouts start again."""
    elements = [nested(ITEM, nested(_KEY, attr(VALUE, key))) for key in keys]
    return transaction((flush(family, name), *_of_elements(True, family, name, elements)))


def flush(family: str, name: str) -> bytes:
    """Return the message that flushes a set."""
    return message(DELETE_ELEMENTS, family, _set_name(name))


def of_set(family: str, name: str) -> bytes:
    """Return the body of a request for a set's elements."""
    return bytes((FAMILIES[family], 0, 0, 0)) + _set_name(name)


def keys_in(body: bytes) -> Iterator[bytes]:
    """Yield the keys in an answer to such a request."""
    for _, item in each_attr(attrs(body, 4).get(_LIST_ELEMENTS, b"")):
        yield attrs(attrs(item)[_KEY])[VALUE]


@lru_cache(maxsize=256)
def layout_of(spec: str) -> Layout:
    """Return how elements of a set with this spec are packed. Raises NotPackable."""
    declaration, *others = spec.split("; ")
    flags = [word for word in others if not word.startswith("size ")]  # says nothing about an element
    keyword, _, types = declaration.partition(" ")
    keys, _, value = types.partition(" : ")
    names = keys.split(" . ")
    intervals = flags == ["flags interval"]
    if keyword not in ("type", "typeof") or (flags and not intervals) or (intervals and len(names) == 1):
        raise NotPackable(spec)  # a one-part interval is a pair of elements in a tree
    return Layout(tuple(_field(name, intervals=intervals) for name in names), intervals, _value(value) if value else None)


def _set_name(name: str) -> bytes:
    return attr_text(_LIST_TABLE, NFT_TABLE) + attr_text(_LIST_SET, name)


def _of_elements(add: bool, family: str, name: str, packed: list[bytes]) -> Iterator[bytes]:
    head = _set_name(name)
    for start in range(0, len(packed), _PER_MESSAGE):
        body = head + nested(_LIST_ELEMENTS, *packed[start : start + _PER_MESSAGE])
        yield message(NEW_ELEMENTS if add else DELETE_ELEMENTS, family, body)


def _element(change: ElementChange, layout: Layout) -> bytes:
    words = change.key.split(" . ")
    if len(words) != len(layout.fields):
        raise NotPackable(change.key)
    try:
        if layout.intervals:
            ends = [field(word) for field, word in zip(layout.fields, words, strict=True)]
        else:
            ends = [(_single(field, word),) * 2 for field, word in zip(layout.fields, words, strict=True)]
        parts = [nested(_KEY, attr(VALUE, _joined(first for first, _ in ends)))]
        if layout.intervals:
            parts.append(nested(_KEY_END, attr(VALUE, _joined(last for _, last in ends))))
        if change.add and layout.value is not None:
            parts.append(nested(_DATA, layout.value(change.value)))
    except (ValueError, OSError, OverflowError, KeyError) as error:
        raise NotPackable(f"{change.key} : {change.value}") from error
    return nested(ITEM, *parts)


def _joined(parts: Iterable[bytes]) -> bytes:
    """Return a key: a single part as it is, several parts each padded to four bytes."""
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
    """Return a function that packs a map's values. Raises NotPackable."""
    if name == "verdict":
        return _verdict
    sizes = {"mark": 4, "ct zone": 2}
    if name not in sizes:
        raise NotPackable(name)
    return lambda word: attr(VALUE, _bytes(word, sizes[name], sys.byteorder))


def _verdict(words: str) -> bytes:
    word, _, chain = words.partition(" ")
    code = attr(CODE, struct.pack(">i", VERDICTS[word]))
    return nested(VERDICT, code, attr_text(CHAIN, chain) if chain else b"")
