"""nf_tables netlink messages: their numbers, their header, and transactions of messages.

Source: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from netorch.drivers.netlink import F_APPEND, F_CREATE, F_REQUEST, HEADER

SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
FAMILIES: Final = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5}  # NFPROTO_*
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11

# NFT_MSG_*
GET_TABLE: Final = SUBSYSTEM << 8 | 1
NEW_CHAIN: Final = SUBSYSTEM << 8 | 3
GET_CHAIN: Final = SUBSYSTEM << 8 | 4
DELETE_CHAIN: Final = SUBSYSTEM << 8 | 5
NEW_RULE: Final = SUBSYSTEM << 8 | 6
GET_RULE: Final = SUBSYSTEM << 8 | 7
DELETE_RULE: Final = SUBSYSTEM << 8 | 8
NEW_SET: Final = SUBSYSTEM << 8 | 9
GET_SET: Final = SUBSYSTEM << 8 | 10
DELETE_SET: Final = SUBSYSTEM << 8 | 11
NEW_ELEMENTS: Final = SUBSYSTEM << 8 | 12
GET_ELEMENTS: Final = SUBSYSTEM << 8 | 13
DELETE_ELEMENTS: Final = SUBSYSTEM << 8 | 14
GET_GENERATION: Final = SUBSYSTEM << 8 | 16
GET_OBJECT: Final = SUBSYSTEM << 8 | 19
NEW_FLOWTABLE: Final = SUBSYSTEM << 8 | 22
GET_FLOWTABLE: Final = SUBSYSTEM << 8 | 23
DELETE_FLOWTABLE: Final = SUBSYSTEM << 8 | 24
_FLAGS: Final = {
    NEW_CHAIN: F_CREATE,
    NEW_RULE: F_CREATE | F_APPEND,
    NEW_SET: F_CREATE,
    NEW_ELEMENTS: F_CREATE,
    NEW_FLOWTABLE: F_CREATE,
}

# Attributes common to several messages: NFTA_DATA_*, NFTA_VERDICT_*, NFTA_LIST_*
VALUE, VERDICT = 1, 2
CODE, CHAIN = 1, 2
ITEM: Final = 1
VERDICTS: Final = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}


class NotPackable(Exception):
    """An element, set, rule or chain of a kind that is left to libnftables."""


def message(kind: int, family: str, body: bytes, flags: int = 0) -> bytes:
    """Return one message of a transaction, with `flags` in addition to those of its kind."""
    return _message(kind, _FLAGS.get(kind, 0) | flags, FAMILIES[family], bytes(2), body)


def transaction(messages: Iterable[bytes]) -> bytes:
    """Return messages as a transaction: all of them take effect at once, or none."""
    subsystem = struct.pack(">H", SUBSYSTEM)
    return b"".join((_message(_BATCH_BEGIN, 0, 0, subsystem), *messages, _message(_BATCH_END, 0, 0, subsystem)))


def _message(kind: int, flags: int, family: int, resource: bytes, body: bytes = b"") -> bytes:
    """Return a message: header, nfgenmsg, body."""
    return HEADER.pack(HEADER.size + 4 + len(body), kind, F_REQUEST | flags, 0, 0) + bytes((family, 0)) + resource + body
