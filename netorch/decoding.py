"""Decoders for any thread, one of each type."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")
D = TypeVar("D", msgspec.json.Decoder[Any], msgspec.msgpack.Decoder[Any])

_JSON: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
_PACKED: Final[dict[Any, msgspec.msgpack.Decoder[Any]]] = {}
_MAKING: Final = threading.Lock()


def decoder_of(kind: type[T]) -> msgspec.json.Decoder[T]:
    """Return a type's decoder of JSON."""
    return _JSON.get(kind) or _make(_JSON, msgspec.json.Decoder, kind)


def packed_decoder_of(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """Return a type's decoder of MessagePack."""
    return _PACKED.get(kind) or _make(_PACKED, msgspec.msgpack.Decoder, kind)


def _make(made: dict[Any, D], make: Callable[[Any], D], kind: Any) -> D:  # noqa: ANN401 - the types are the callers'
    """Return a type's decoder, made if it is missing.

    One thread at a time: while one makes a type's first decoder, msgspec 0.22 gives the others decoders that do not know all the
    type's fields yet, and using such a decoder crashes the process.
    """
    with _MAKING:
        return made.setdefault(kind, make(kind))
