"""Stored bytes as values. What cannot be read, or makes no sense, is named; nothing is guessed, and nobody writes over it."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from netorch.errors import UnreadableRecord
from netorch.records import valid
from netorch.store.base import DAMAGED, KeyValue

T = TypeVar("T")

# What decoding raises, whatever bytes stand in the store: msgspec's errors, values that are refused, JSON nested too deeply.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


def decode(kv: KeyValue, kind: type[T]) -> T:
    """Return the value of a key. Raises UnreadableRecord."""
    return decode_value(kv.key, kv.value, kind)


def decode_value(key: str, value: bytes, kind: type[T]) -> T:
    """Return what the bytes at a key mean. Raises UnreadableRecord, also for a record that makes no sense or is another key's."""
    found = parse_value(key, value, kind)
    check_value(key, found)
    return found


def parse_value(key: str, value: bytes, kind: type[T]) -> T:
    """Return what the bytes at a key say, sense or not. Raises UnreadableRecord."""
    check_sound(key, value)
    decoder = _DECODERS.get(kind) or _DECODERS.setdefault(kind, msgspec.json.Decoder(kind))
    try:
        found: T = decoder.decode(value)
    except UNREADABLE as error:
        raise UnreadableRecord(key, f"cannot be read: {error}") from error
    return found


def check_sound(key: str, value: bytes) -> None:
    """Raise UnreadableRecord for what the store itself knows not to be what was written."""
    if value.startswith(DAMAGED):
        raise UnreadableRecord(key, f"is damaged: {value[len(DAMAGED) :].partition(b': ')[0].decode(errors='replace')}")


def check_value(key: str, record: object) -> None:
    """Raise UnreadableRecord for a record that makes no sense at its key."""
    try:
        valid.check(key, record)
    except valid.Invalid as error:
        raise UnreadableRecord(key, f"makes no sense: {error}") from error
