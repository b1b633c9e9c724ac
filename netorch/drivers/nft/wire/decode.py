"""A table's contents from the kernel's messages as blocks of nft words: the inverse of nft.wire.encode.

Only contents of VPCs become words, by the tables that nft.wire.encode uses to write them. Everything else is shown as the
kernel's bytes, without values that change by themselves: handles, packet counts. So are foreign contents of a VPC's chain or
set; such text starts with a character that no nft word has, so that it cannot be mistaken for a command.

Source: linux/netfilter/nf_tables.h NFTA_TABLE_*, NFTA_CHAIN_*, NFTA_RULE_*, NFTA_OBJ_*;
net/netfilter/nf_tables_api.c, nf_tables_fill_*.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from netorch.drivers.netlink import attrs, each_attr
from netorch.drivers.nft import chains
from netorch.drivers.nft.listing import NO_WORD, Block
from netorch.drivers.nft.wire.encode import hook
from netorch.drivers.nft.wire.expressions import decode
from netorch.drivers.nft.wire.messages import NotPackable
from netorch.drivers.nft.wire.rules import words_of
from netorch.state.base import HOST_SLICE
from netorch.state.names import is_port, vni_of_chain
from netorch.state.owner import NFT_TABLE

NFGENMSG: Final = 4  # bytes before the attributes
TABLE: Final = 1  # the table's name, in every kind of message
_NAME: Final = {"table": 1, "chain": 3, "object": 2}
# Counted or freely numbered by the kernel: handles, users, counters, padding.
_CHANGING: Final = {"table": (3, 4, 5), "chain": (2, 6, 8, 9), "object": (5, 6, 7)}
_OBJECT_TYPE, _OBJECT_DATA = 3, 4
_COUNTER, _QUOTA = 1, 2  # NFT_OBJECT_*
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USER_DATA = 2, 4, 7
_CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 4, 5, 7
_HOOK_DEVICES: Final = 4
_COUNTING: Final = ("counter", "quota", "last")  # expressions with their own counts
_OUR_TABLE: Final = NFT_TABLE.encode() + b"\0"


def is_ours(found: Mapping[int, bytes]) -> bool:
    """Return whether a message is about netorch's table."""
    return found.get(TABLE) == _OUR_TABLE


def name_in(found: Mapping[int, bytes], kind: int) -> str:
    """Return a name from an attribute; characters that netorch's names never contain are replaced."""
    return found.get(kind, b"")[:-1].decode(errors="replace")


def thing(kind: str, found: Mapping[int, bytes]) -> Block:
    """Return a table, chain or named object, shown as the kernel's bytes."""
    kept = {number: value for number, value in found.items() if number not in (TABLE, *_CHANGING[kind])}
    if kind == "object" and int.from_bytes(found.get(_OBJECT_TYPE, b""), "big") in (_COUNTER, _QUOTA):
        del kept[_OBJECT_DATA]
    return Block("" if kind == "table" else kind, name_in(found, _NAME[kind]), [_told(kept)], [])


def chain(found: Mapping[int, bytes]) -> Block:
    """Return a chain without its rules. A port's chain, and a guard, begin with a line for their hook."""
    name = name_in(found, _NAME["chain"])
    device, family = (name, chains.FAMILY) if is_port(name) else (chains.guarded(name), "inet")
    if device:
        return Block("chain", name, [chains.hook(device, family) if _at(hook(device, family), found) else NO_WORD], [])
    if vni_of_chain(name) != HOST_SLICE:
        return Block("chain", name, [] if _CHAIN_HOOK not in found else [NO_WORD], [])
    return thing("chain", found)


def rule(family: str, found: Mapping[int, bytes], shared: Collection[str]) -> tuple[str, str]:
    """Return the name of a rule's chain, and the rule as a line; `shared` are the chains of neither VPCs nor ports."""
    name, listed = name_in(found, _RULE_CHAIN), found.get(_RULE_EXPRESSIONS, b"")
    if name in shared:
        return name, f"{_steady(listed)} {found.get(_RULE_USER_DATA, b'').hex()}"
    return name, _words(family, name if f"{name}.".encode() in listed else "", listed)


@lru_cache(maxsize=1024)
def _words(family: str, own: str, listed: bytes) -> str:
    """Return a rule in words. Cached, because VPCs share most rules.

    Args:
      own: The chain's name if the rule may read sets of that chain; otherwise empty.
    """
    try:
        return words_of(family, own, tuple(decode(listed)))
    except (NotPackable, ValueError, KeyError):
        return f"{NO_WORD}{listed.hex()}"


def _at(place: bytes, found: Mapping[int, bytes]) -> bool:
    """Return whether a chain has this hook, and policy drop."""
    wanted, devices = attrs(place), attrs(found.get(_CHAIN_HOOK, b""))
    alike = all(found.get(kind) == wanted[kind] for kind in (_CHAIN_POLICY, _CHAIN_TYPE))
    return alike and {kind: devices[kind] for kind in devices if kind != _HOOK_DEVICES} == attrs(wanted[_CHAIN_HOOK])


def _steady(listed: bytes) -> str:
    """Return expressions without their counts."""
    parts = []
    for _, item in each_attr(listed):
        kind = name_in(attrs(item), 1)
        parts.append(kind if kind in _COUNTING else item.hex())
    return " ".join(parts)


def _told(found: Mapping[int, bytes]) -> str:
    return " ".join(f"{number}:{value.hex()}" for number, value in sorted(found.items()))
