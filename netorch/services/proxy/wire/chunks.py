"""Bodies in chunks (RFC 9112, section 7.1), parsed strictly: an ambiguous body is refused.

The proxy forwards a body in its own chunks. So extensions and trailers are dropped.
"""

from __future__ import annotations

import re
from typing import Final

from netorch.services.proxy import limits

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z")
_TRAILER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\Z")
LAST: Final = b"0\r\n\r\n"


class NoChunks(Exception):
    """The bytes are no valid body in chunks."""


class Chunks:
    """Parses one body."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk, with its CRLF
        self._in_trailers = False
        self._trailers = 0  # bytes
        self.ended = False

    def take(self, buffer: bytearray) -> bytes:
        """Take the available part of the body out of a buffer, and return it without its framing.

        Raises:
          NoChunks: it is no body in chunks.
        """
        found = bytearray()
        while not self.ended and (self._take_data(buffer, found) if self._left else self._take_line(buffer)):
            pass
        return bytes(found)

    def _take_data(self, buffer: bytearray, found: bytearray) -> bool:
        data = min(max(self._left - 2, 0), len(buffer))
        found += buffer[:data]
        del buffer[:data]
        self._left -= data
        if self._left > 2 or len(buffer) < self._left:
            return False
        if buffer[: self._left] != b"\r\n":
            raise NoChunks("a chunk has another length than declared")
        del buffer[: self._left]
        self._left = 0
        return True

    def _take_line(self, buffer: bytearray) -> bool:
        """Take a line: a size, or a trailer."""
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > limits.LINE:
                raise NoChunks("a line between chunks is too long")
            return False
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        if not line.endswith(b"\r\n") or len(line) > limits.LINE:
            raise NoChunks("a line between chunks ends without CR, or is too long")
        self._read(line[:-2])
        return True

    def _read(self, line: bytes) -> None:
        if self._in_trailers:
            self._trailers += len(line)
            self.ended = not line
            if line and (_TRAILER.match(line) is None or self._trailers > limits.LINE):
                raise NoChunks("a trailer is malformed")
            return
        size = _SIZE.match(line)
        if size is None:
            raise NoChunks("the size of a chunk is not a number")
        self._left = int(size[1], 16)
        if self._left:
            self._left += 2
        else:
            self._in_trailers = True


def chunk(data: bytes) -> bytes:
    """Return a chunk. `data` must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)
