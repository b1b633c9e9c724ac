"""Chunked bodies: the result is the same for any split of the bytes, and nothing else is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.services.proxy.wire.chunks import LAST, Chunks, NoChunks, chunk

NEXT = b"GET /next HTTP/1.1\r\n\r\n"


def read(raw: bytes, cuts: list[int]) -> tuple[bytes, bool, bytes]:
    """Return the body, whether it has ended, and the bytes after it, if the bytes arrive in pieces of these lengths."""
    chunks, buffer, found = Chunks(), bytearray(), b""
    for size in (*cuts, len(raw)):
        buffer += raw[:size]
        raw = raw[size:]
        found += chunks.take(buffer)
    return found, chunks.ended, bytes(buffer)


TRAILERS = (b"", b"a: b\r\n", b"a:\r\nB: c\r\n")
AMBIGUOUS = (
    b"3\nabc\r\n",
    b"3\r\nabcd\r\n",
    b"3\r\nabc\n\n",
    b"3 \r\n",
    b"0x3\r\n",
    b"\r\n",
    b"0\r\nx y: z\r\n",
    b"0\r\n x: z\r\n",
    b"3;\x00\r\n",
)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(1, 9)), st.sampled_from(TRAILERS))
def test_a_body_is_the_same_however_it_is_cut_and_ends_where_it_ends(
    pieces: list[bytes], cuts: list[int], trailers: bytes
) -> None:
    raw = b"".join(map(chunk, pieces)) + b"0\r\n" + trailers + b"\r\n" + NEXT
    assert read(raw, cuts) == (b"".join(pieces), True, NEXT)


@pytest.mark.parametrize("whole", [chunk(b"abc") + LAST, b"3;a=b\r\nabc\r\n0;c\r\nx: y\r\n\r\n", b"0003 ;x\r\nabc\r\n0\r\n\r\n"])
def test_a_body_ends_with_its_last_byte_and_no_sooner(whole: bytes) -> None:
    assert read(whole, [1] * len(whole)) == (b"abc", True, b"")
    for length in range(len(whole)):
        assert not read(whole[:length], [])[1]


@pytest.mark.parametrize("raw", AMBIGUOUS)
def test_what_another_reader_could_read_in_another_way_is_refused(raw: bytes) -> None:
    for cuts in ([], [1] * len(raw)):
        with pytest.raises(NoChunks):
            read(raw, cuts)
