"""Stored bytes as values. What cannot be read is named; nothing is guessed, and nobody writes over it."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from netorch.errors import UnreadableRecord
from netorch.store.base import KeyValue

T = TypeVar("T")

# What decoding raises, whatever bytes stand in the store: msgspec's errors, values that are refused, JSON nested too deeply.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


def decode(kv: KeyValue, kind: type[T]) -> T:
    """Return the value of a key. Raises UnreadableRecord."""
    decoder = _DECODERS.get(kind) or _DECODERS.setdefault(kind, msgspec.json.Decoder(kind))
    try:
        value: T = decoder.decode(kv.value)
    except UNREADABLE as error:
        raise UnreadableRecord(kv.key, f"cannot be read: {error}") from error
    return value
