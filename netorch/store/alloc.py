"""Allocation inside the caller's own transaction: the compares and writes that make a VNI, MAC address or name exclusive.

This module writes nothing. A key below alloc/ or name/ has the holder, or the time of the release. After the release a
hold-down of an hour follows, so that late packets and commands for the old holder do not reach a new one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import msgspec

from netorch.errors import StoreError
from netorch.model.ids import VNI_FIRST, VNI_LAST, Vni
from netorch.store.base import Compare, Delete, KeyValue, Put, Store

HOLD_DOWN_S: Final = 3600.0
NEXT_VNI_KEY: Final = "alloc/next-vni"
_BLOCK: Final = 256  # VNIs in one listing: the last two of six hex digits


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One condition and one operation for the caller's transaction."""

    compare: Compare
    op: Put | Delete


class FreeVni(msgspec.Struct, frozen=True, kw_only=True):
    """A free VNI, available as long as its key is still at `mod_revision`."""

    vni: Vni
    mod_revision: int

    def take(self, holder: str) -> Claim:
        """Return the claim that gives the VNI to `holder`."""
        return _take(vni_key(self.vni), self.mod_revision, holder)


class VniBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Free VNIs. The first transaction that takes any of them must include `advance`, which reserves all of them."""

    free: tuple[FreeVni, ...]
    advance: Claim


class _Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    holder: str = ""
    freed_at: float = 0.0  # Unix seconds
    freed_by: str = ""  # the last holder, by a name that outlives ids; callers waive the hold-down for this holder


_encode = msgspec.json.Encoder().encode
_holding = msgspec.json.Decoder(_Holding)
_number = msgspec.json.Decoder(int)


def vni_key(vni: int) -> str:
    """Return the key with the holder of a VNI."""
    return f"alloc/vni/{vni:06x}"


def mac_key(mac: str) -> str:
    """Return the key with the interface that holds a MAC address."""
    return f"alloc/mac/{mac}"


def mac_address(entropy: int) -> str:
    """Return a unicast, locally administered address from the low 40 bits of `entropy`; 06:... as in EC2."""
    return "06:" + (entropy & 0xFFFFFFFFFF).to_bytes(5).hex(":")


def holder_of(known: KeyValue | None) -> str:
    """Return the holder; empty: there is none."""
    return _read(known).holder if known else ""


def take(key: str, known: KeyValue | None, holder: str, now: float, hold_down_s: float = HOLD_DOWN_S) -> Claim | None:
    """Return the claim that gives the key to `holder`, or None while the key is held or in hold-down.

    `known` is the key as it was read, `now` is Unix seconds.
    """
    if not _may_be_taken(known, now, hold_down_s):
        return None
    return _take(key, known.mod_revision if known else 0, holder)


def freed_by(known: KeyValue | None) -> str:
    """Return the last holder of a free key; empty: the key is held, or the last holder is unknown."""
    return _read(known).freed_by if known else ""


def release(known: KeyValue, now: float, by: str = "") -> Claim:
    """Return the claim that frees a held key and starts its hold-down at `now`, Unix seconds; `by` is the last holder."""
    return Claim(
        compare=Compare(known.key, known.mod_revision),
        op=Put(known.key, _encode(_Holding(freed_at=now, freed_by=by))),
    )


def forget(known: KeyValue) -> Claim:
    """Return the claim that frees a held key at once, e.g. one of the 2^40 MAC addresses, which are unlikely to recur soon."""
    return Claim(compare=Compare(known.key, known.mod_revision), op=Delete(known.key))


def find_vnis(store: Store, count: int, now: float, hold_down_s: float = HOLD_DOWN_S) -> VniBlock:
    """Return the next `count` free VNIs. The search is cyclic, so that a freed VNI is reused as late as possible.

    Raises:
      StoreError: fewer are left.

    Cost: one get, and one listing of at most 256 keys for each 256 VNIs searched: 1 for the usual request.
    """
    known = store.get(NEXT_VNI_KEY)
    start = _next_vni(known)
    free = tuple(itertools.islice(_free_vnis(store, start, now, hold_down_s), count))
    if len(free) < count:
        raise StoreError(f"alloc/vni: {len(free)} of the {count} requested VNIs are free; delete VPCs and wait for the hold-down")
    following = free[-1].vni + 1 if free else start
    advance = Claim(
        compare=Compare(NEXT_VNI_KEY, known.mod_revision if known else 0),
        op=Put(NEXT_VNI_KEY, _encode(following if following <= VNI_LAST else VNI_FIRST)),
    )
    return VniBlock(free=free, advance=advance)


def _take(key: str, mod_revision: int, holder: str) -> Claim:
    return Claim(compare=Compare(key, mod_revision), op=Put(key, _encode(_Holding(holder=holder))))


def _free_vnis(store: Store, start: int, now: float, hold_down_s: float) -> Iterator[FreeVni]:
    for first, last in ((start, VNI_LAST), (VNI_FIRST, start - 1)):
        for block in range(first // _BLOCK, last // _BLOCK + 1):
            base = block * _BLOCK
            known = {kv.key: kv for kv in store.list(vni_key(base)[:-2]).kvs}
            for vni in range(max(first, base), min(last, base + _BLOCK - 1) + 1):
                held = known.get(vni_key(vni))
                if _may_be_taken(held, now, hold_down_s):
                    yield FreeVni(vni=Vni(vni), mod_revision=held.mod_revision if held else 0)


def _may_be_taken(known: KeyValue | None, now: float, hold_down_s: float) -> bool:
    if known is None:
        return True
    holding = _read(known)
    return not holding.holder and now - holding.freed_at >= hold_down_s


def _next_vni(known: KeyValue | None) -> int:
    if known is None:
        return VNI_FIRST
    try:
        number = _number.decode(known.value)
    except msgspec.DecodeError:
        number = 0
    return number if VNI_FIRST <= number <= VNI_LAST else VNI_FIRST  # only the start of the search


def _read(known: KeyValue) -> _Holding:
    try:
        return _holding.decode(known.value)
    except msgspec.DecodeError:  # treated as held: no allocation is better than a double one
        return _Holding(holder=known.value.decode(errors="replace"))
