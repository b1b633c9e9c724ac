"""Sets and maps through nf_tables netlink by hand: from what a set says of itself (its spec) to the attributes of its message.

A set carries more than the kernel needs: how `nft list` is to show its keys. So that an operator sees the same, it is what
libnftables 1.0.6 writes. Numbers of types: nftables, include/datatype.h; a key of several parts has 6 bits for each.
Source: linux/netfilter/nf_tables.h NFTA_SET_*; nftables src/mnl.c mnl_nft_set_add; libnftnl include/udata.h.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

from netorch.drivers.netlink import F_EXCL, attr, attr_text, nested
from netorch.drivers.nft.wire.messages import DELETE_SET, ITEM, NEW_SET, NotPackable, message
from netorch.state.owner import NFT_TABLE

_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LENGTH, _DATA_TYPE, _DATA_LENGTH, _DESCRIPTION = 1, 2, 3, 4, 5, 6, 7, 9
_ID, _USER_DATA = 10, 13
_FIELDS, _LENGTH = 2, 1  # NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
_INTERVAL, _MAP, _CONCATENATED = 0x4, 0x8, 0x80  # NFT_SET_*
# What libnftables notes for its next listing: types, lengths, numbers in the order of the machine.
_KEY_ORDER, _DATA_ORDER, _KEY_EXPRESSION, _DATA_INTERVAL = 0, 1, 3, 6
_NO_ORDER, _HOST_ORDER, _NETWORK_ORDER = 0, 1, 2
_CONCATENATION: Final = (
    bytes((0, 4)) + struct.pack("=I", 13) + bytes((1, 0))
)  # an expression's kind, with nothing more said of it
_IDS: Final = count(1)  # of sets within a transaction


class Type(NamedTuple):
    """A type of nft's."""

    number: int
    size: int  # bytes
    order: int


TYPES: Final = {
    "ipv4_addr": Type(7, 4, _NETWORK_ORDER),
    "ipv6_addr": Type(8, 16, _NETWORK_ORDER),
    "inet_proto": Type(12, 1, _NETWORK_ORDER),
    "inet_service": Type(13, 2, _NETWORK_ORDER),
    "icmp_type": Type(14, 1, _NETWORK_ORDER),
    "mark": Type(19, 4, _HOST_ORDER),
    "icmpv6_type": Type(29, 1, _NETWORK_ORDER),
    "icmp_code": Type(32, 1, _NETWORK_ORDER),
    "icmpv6_code": Type(33, 1, _NETWORK_ORDER),
    "ifname": Type(41, 16, _HOST_ORDER),
}


def new_set(family: str, name: str, spec: str, *, exclusive: bool = False) -> bytes:
    """Return the message that makes a set or map, unless there is one of this name; `exclusive`: which then is an error.

    Raises:
      NotPackable: it is neither a set of intervals of several parts nor a map of single keys.
    """
    head = attr_text(_TABLE, NFT_TABLE) + attr_text(_NAME, name)
    body = head + attributes_of(spec) + attr(_ID, struct.pack(">I", next(_IDS) & 0xFFFFFFFF))
    return message(NEW_SET, family, body, F_EXCL if exclusive else 0)


def delete_set(family: str, name: str) -> bytes:
    """Return the message that deletes a set or map with all that is in it."""
    return message(DELETE_SET, family, attr_text(_TABLE, NFT_TABLE) + attr_text(_NAME, name))


@lru_cache(maxsize=256)
def attributes_of(spec: str) -> bytes:
    """Return what a set is, but for its name. Raises NotPackable."""
    declaration, _, flags = spec.partition("; ")
    words, _, value = declaration.removeprefix("type ").partition(" : ")
    names = words.split(" . ")
    if not declaration.startswith("type ") or not {*names, *filter(None, (value,))} <= TYPES.keys():
        raise NotPackable(spec)
    keys = [TYPES[name] for name in names]
    if len(keys) > 1 and flags == "flags interval" and not value:
        return _of_intervals(keys)
    if len(keys) == 1 and value and not flags:
        return _of_map(keys[0], TYPES[value])
    raise NotPackable(spec)


def _of_intervals(keys: list[Type]) -> bytes:
    number = 0
    for key in keys:
        number = number << 6 | key.number
    fields = [nested(ITEM, attr(_LENGTH, struct.pack(">I", key.size))) for key in keys]
    notes = _note(_KEY_ORDER, _NO_ORDER) + bytes((_KEY_EXPRESSION, len(_CONCATENATION))) + _CONCATENATION
    return b"".join(
        (
            _u32(_FLAGS, _INTERVAL | _CONCATENATED),
            _u32(_KEY_TYPE, number),
            _u32(_KEY_LENGTH, sum(key.size + 3 & ~3 for key in keys)),
            nested(_DESCRIPTION, nested(_FIELDS, *fields)),
            attr(_USER_DATA, notes),
        )
    )


def _of_map(key: Type, value: Type) -> bytes:
    notes = _note(_KEY_ORDER, key.order) + _note(_DATA_ORDER, value.order) + _note(_DATA_INTERVAL, 0)
    return b"".join(
        (
            _u32(_FLAGS, _MAP),
            _u32(_KEY_TYPE, key.number),
            _u32(_KEY_LENGTH, key.size),
            _u32(_DATA_TYPE, value.number),
            _u32(_DATA_LENGTH, value.size),
            attr(_USER_DATA, notes),
        )
    )


def _note(kind: int, number: int) -> bytes:
    return bytes((kind, 4)) + struct.pack("=I", number)


def _u32(kind: int, number: int) -> bytes:
    return attr(kind, struct.pack(">I", number))
