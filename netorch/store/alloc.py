"""Allocation inside the caller's own transaction: what to compare and what to write so that nobody else gets the same thing.

Nothing is written here. A key below alloc/ or name/ says who holds the thing, or since when nobody does: what was freed stays in
hold-down for an hour, so that a packet or a command that still means the old holder does not reach a new one.
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
_BLOCK: Final = 256  # VNIs that one listing answers for: the last two of six hex digits


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One condition and one operation of the caller's transaction."""

    compare: Compare
    op: Put | Delete


class FreeVni(msgspec.Struct, frozen=True, kw_only=True):
    """A VNI that may be taken as long as its key is still at `mod_revision`."""

    vni: Vni
    mod_revision: int

    def take(self, holder: str) -> Claim:
        """Return what makes the VNI `holder`'s."""
        return _take(vni_key(self.vni), self.mod_revision, holder)


class VniBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Free VNIs; the first transaction that takes any of them must carry `advance`, which keeps others off all of them."""

    free: tuple[FreeVni, ...]
    advance: Claim


class _Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    holder: str = ""
    freed_at: float = 0.0  # Unix seconds
    freed_by: str = ""  # who had it, in words that outlive ids: to them it is no stranger's


_encode = msgspec.json.Encoder().encode
_holding = msgspec.json.Decoder(_Holding)
_number = msgspec.json.Decoder(int)


def vni_key(vni: int) -> str:
    """Return the key that says who holds a VNI."""
    return f"alloc/vni/{vni:06x}"


def mac_key(mac: str) -> str:
    """Return the key that says which interface holds a MAC address."""
    return f"alloc/mac/{mac}"


def mac_address(entropy: int) -> str:
    """Return a unicast, locally administered address of the low 40 bits of `entropy`; 06:... as EC2's."""
    return "06:" + (entropy & 0xFFFFFFFFFF).to_bytes(5).hex(":")


def holder_of(known: KeyValue | None) -> str:
    """Return who holds the thing; empty: nobody."""
    return _read(known).holder if known else ""


def take(key: str, known: KeyValue | None, holder: str, now: float, hold_down_s: float = HOLD_DOWN_S) -> Claim | None:
    """Return what makes the key `holder`'s, or None while it is held or isolated.

    `known` is the key as it was read, `now` is Unix seconds.
    """
    if not _may_be_taken(known, now, hold_down_s):
        return None
    return _take(key, known.mod_revision if known else 0, holder)


def freed_by(known: KeyValue | None) -> str:
    """Return who had a thing that nobody holds; empty: it is held, or nobody knows."""
    return _read(known).freed_by if known else ""


def release(known: KeyValue, now: float, by: str = "") -> Claim:
    """Return what frees a held key and begins its hold-down at `now`, Unix seconds; `by` says who had it."""
    return Claim(
        compare=Compare(known.key, known.mod_revision),
        op=Put(known.key, _encode(_Holding(freed_at=now, freed_by=by))),
    )


def forget(known: KeyValue) -> Claim:
    """Return what frees a held key at once, e.g. one of the 2^40 MAC addresses, which chance keeps from coming again soon."""
    return Claim(compare=Compare(known.key, known.mod_revision), op=Delete(known.key))


def find_vnis(store: Store, count: int, now: float, hold_down_s: float = HOLD_DOWN_S) -> VniBlock:
    """Return the next `count` free VNIs, going around, so that a freed one comes again as late as possible.

    Raises:
      StoreError: fewer are left.
    Cost: one get, and one listing of at most 256 keys for each 256 VNIs looked at: 1 for the usual request.
    """
    known = store.get(NEXT_VNI_KEY)
    start = _next_vni(known)
    free = tuple(itertools.islice(_free_vnis(store, start, now, hold_down_s), count))
    if len(free) < count:
        raise StoreError(f"alloc/vni: {len(free)} of the {count} VNIs asked for are left; delete VPCs and wait for the hold-down")
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
    return number if VNI_FIRST <= number <= VNI_LAST else VNI_FIRST  # it is only where to begin looking


def _read(known: KeyValue) -> _Holding:
    try:
        return _holding.decode(known.value)
    except msgspec.DecodeError:  # held by somebody: handing a thing out twice is worse than not at all
        return _Holding(holder=known.value.decode(errors="replace"))
