"""Sets and maps through hand-packed nf_tables netlink: from a set's declaration (its spec) to the attributes of its message.

A set has attributes that the kernel does not need, for how `nft list` shows its keys. They are the same as those of
libnftables 1.0.6, so that an operator sees the same listing. Type numbers: nftables, include/datatype.h; a key of several
parts has 6 bits for each.
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
# Notes of libnftables for later listings: types, lengths, byte orders.
_KEY_ORDER, _DATA_ORDER, _KEY_EXPRESSION, _DATA_INTERVAL = 0, 1, 3, 6
_NO_ORDER, _HOST_ORDER, _NETWORK_ORDER = 0, 1, 2
_CONCATENATION: Final = (
    bytes((0, 4)) + struct.pack("=I", 13) + bytes((1, 0))
)  # the kind of an expression, without further attributes
_IDS: Final = count(1)  # of sets within a transaction


class Type(NamedTuple):
    """A type of nft."""

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
    """Return the message that creates a set or map unless its name exists; with `exclusive`, an existing name is an error.

    Raises:
      NotPackable: the spec is neither a multi-part interval set nor a map with single keys.
    """
    head = attr_text(_TABLE, NFT_TABLE) + attr_text(_NAME, name)
    body = head + attributes_of(spec) + attr(_ID, struct.pack(">I", next(_IDS) & 0xFFFFFFFF))
    return message(NEW_SET, family, body, F_EXCL if exclusive else 0)


def delete_set(family: str, name: str) -> bytes:
    """Return the message that deletes a set or map with all its elements."""
    return message(DELETE_SET, family, attr_text(_TABLE, NFT_TABLE) + attr_text(_NAME, name))


@lru_cache(maxsize=256)
def attributes_of(spec: str) -> bytes:
    """Return a set's attributes except its name. Raises NotPackable."""
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
