"""Heads of requests and answers, read by aiohttp's parser (llhttp), each by a parser of its own.

A parser is given the bytes up to the first empty line and no more. It must have read one head then, no more and no less. So it
sees no body, and nothing that a client sends can make it take one message for another. That of requests is strict; an answer is
the operator's server's.
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
    """What comes is no head."""


class RequestHead(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    headers: Raw
    closes: bool  # whether the client wants no more answers


class AnswerHead(NamedTuple):
    """An answer as it came."""

    status: int
    reason: str
    headers: Raw
    closes: bool
    chunked: bool


class _Heads:
    """Takes one head out of a buffer, as it fills."""

    def __init__(self, parser: HttpParser[RawRequestMessage] | HttpParser[RawResponseMessage]) -> None:
        self._parser = parser
        self._fed = 0

    def take(self, buffer: bytearray) -> RawRequestMessage | RawResponseMessage | None:
        """Return the head, which is no longer in the buffer; None while it is not complete. Raises NoHead."""
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
        """Return the head, None while it is not complete. Raises NoHead."""
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
        """Return the head, None while it is not complete. Raises NoHead."""
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
    """Return what a parser tells to read no further, which none does that sees no body."""
    return BaseProtocol(loop)
