"""Decoders that several threads ask for at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from netorch.decoding import decoder_of, packed_decoder_of

MAKES: Final = threading.Event()  # a thread is making the first decoder of a type, and has not finished
HAS_ONE: Final = threading.Event()  # another thread has a decoder of the type
EARLY: Final[list[bool]] = []


def slowly() -> type[int]:
    """Return the type of a field, once the other thread has had time to get a decoder."""
    MAKES.set()
    EARLY.append(HAS_ONE.wait(0.3))
    return int


@pytest.mark.parametrize("of", [decoder_of, packed_decoder_of])
def test_a_thread_waits_for_the_one_that_makes_the_first_decoder_of_a_type(of: Callable[[Any], Any]) -> None:
    for state in (MAKES, HAS_ONE):
        state.clear()
    EARLY.clear()
    annotated: Any = "slowly()"  # msgspec evaluates it while it makes the decoder
    inner = msgspec.defstruct("Inner", [("number", annotated)], module=__name__)
    outer = msgspec.defstruct("Outer", [("inner", inner)])  # known to msgspec, but not its field, until the inner one is known
    found: list[object] = []
    first = threading.Thread(target=lambda: found.append(of(outer)), daemon=True)
    first.start()
    assert MAKES.wait(10.0)
    found.append(of(outer))
    HAS_ONE.set()
    first.join()
    assert EARLY == [False]
    assert found[0] is found[1] is of(outer)
