"""Heads of requests and answers. aiohttp's parser (llhttp) parses each with a new parser object.

A parser gets the bytes up to the first empty line only. It must then have read exactly one head. So it never sees a
body, and no input of a client can make it take one message for another. The parser of requests is strict. Answers come
from the operator's server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpParser, HttpRequestParser, HttpResponseParser, RawRequestMessage, RawResponseMessage

from netorch.services.proxy import limits

_END: Final = b"\r\n\r\n"
Raw = tuple[tuple[bytes, bytes], ...]


class NoHead(Exception):
    """The bytes are no valid head."""


class RequestHead(NamedTuple):
    """A request as received."""

    method: str
    target: str
    headers: Raw
    closes: bool  # whether the client closes the connection after the answer


class AnswerHead(NamedTuple):
    """An answer as received."""

    status: int
    reason: str
    headers: Raw
    closes: bool
    chunked: bool


class _Heads:
    """Takes one head out of a buffer as it fills."""

    def __init__(self, parser: HttpParser[RawRequestMessage] | HttpParser[RawResponseMessage]) -> None:
        self._parser = parser
        self._fed = 0

    def take(self, buffer: bytearray) -> RawRequestMessage | RawResponseMessage | None:
        """Return the head and remove it from the buffer, or return None while it is incomplete. Raises NoHead."""
        end = buffer.find(_END, max(self._fed - 3, 0))
        until = end + len(_END) if end >= 0 else len(buffer)
        if until > limits.HEAD:
            raise NoHead(f"the head has more than {limits.HEAD} bytes")
        try:
            messages, _, _ = self._parser.feed_data(bytes(buffer[self._fed : until]))
        except (HttpProcessingError, ValueError) as error:
            raise NoHead(type(error).__name__) from None
        self._fed = until
        if len(messages) != (end >= 0):
            raise NoHead("the head does not end where its first empty line is")
        if not messages:
            return None
        del buffer[:until]
        return messages[0][0]


class RequestHeads(_Heads):
    """Takes the head of a request."""

    def __init__(self) -> None:
        super().__init__(_made(HttpRequestParser))

    def next(self, buffer: bytearray) -> RequestHead | None:
        """Return the head, or None while it is incomplete. Raises NoHead."""
        found = self.take(buffer)
        if found is None:
            return None
        assert isinstance(found, RawRequestMessage)
        if found.version != HttpVersion11:
            raise NoHead("it is not HTTP/1.1")
        return RequestHead(found.method, found.path, tuple(found.raw_headers), found.should_close)


class AnswerHeads(_Heads):
    """Takes the head of an answer."""

    def __init__(self) -> None:
        super().__init__(_made(HttpResponseParser))

    def next(self, buffer: bytearray) -> AnswerHead | None:
        """Return the head, or None while it is incomplete. Raises NoHead."""
        found = self.take(buffer)
        if found is None:
            return None
        assert isinstance(found, RawResponseMessage)
        headers = tuple(found.raw_headers)
        for _, value in headers:
            if b"\r" in value or b"\n" in value:
                raise NoHead("a header has more than one line")
        return AnswerHead(found.code, found.reason, headers, found.should_close, found.chunked)


def _made(make: Callable[..., HttpParser[RawRequestMessage] | HttpParser[RawResponseMessage]]) -> HttpParser:  # type: ignore[type-arg]
    loop = asyncio.get_running_loop()
    return make(
        _protocol(loop),
        loop,
        limits.READ_AHEAD,
        max_line_size=limits.LINE,
        max_field_size=limits.FIELD,
        max_headers=limits.FIELDS,
        auto_decompress=False,
    )


@lru_cache(maxsize=1)
def _protocol(loop: asyncio.AbstractEventLoop) -> BaseProtocol:
    """Return the protocol that a parser would tell to pause reading. A parser that sees no body never does."""
    return BaseProtocol(loop)
