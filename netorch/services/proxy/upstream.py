"""Connections to the server, of one endpoint. Endpoints never share connections.

The process opens them from its own namespace, to the address that the operator has declared. A server may close a kept
connection just as the proxy uses it again. So a kept connection is only for repeatable requests: their method is
idempotent (RFC 9112, section 9.3.1), and their body is complete. Other requests get a connection that was used a moment
ago, or a new one.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from netorch.services.proxy import limits
from netorch.services.proxy.head import Head
from netorch.services.proxy.wire.heads import AnswerHead, AnswerHeads, NoHead
from netorch.services.proxy.wire.stream import Stream

_HTTP_PORT: Final = 80
_SWITCHING: Final = 101
_FINAL: Final = 200  # answers of a lower status are interim
_IDEMPOTENT: Final = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))


class Upstream:
    """The connections of one endpoint to the server. The first request opens the first one."""

    def __init__(self) -> None:
        self._kept: dict[Stream, tuple[str, float]] = {}  # the server, and since when it is unused; the latest comes last

    async def send(self, server: str, head: Head, raw: bytes) -> tuple[Stream, AnswerHead]:
        """Send a complete request. Return the connection and the head of the answer.

        Raises:
          OSError, NoHead: the server is unreachable, closes too early, or sends no valid HTTP.
        """
        if head.method not in _IDEMPOTENT:
            stream = await self.open(server)
            return stream, await _asked(stream, raw)
        if (kept := self._taken(server, limits.POOLED_S)) is not None:
            with suppress(ConnectionError):
                return kept, await _asked(kept, raw)
        fresh = await connect(server)
        return fresh, await _asked(fresh, raw)

    async def open(self, server: str) -> Stream:
        """Return a connection that the server will not close right now: a recently used or a new one. Raises OSError."""
        return self._taken(server, limits.FRESH_S) or await connect(server)

    def keep(self, server: str, stream: Stream) -> None:
        """Keep a connection whose last answer was read completely."""
        if stream.ended or stream.buffer or len(self._kept) >= limits.POOLED:
            stream.close()
            return
        stream.alert = lambda: self._drop(stream)  # no answer is expected: any bytes are an error
        stream.watch()
        self._kept[stream] = server, time.monotonic()

    def tidy(self, now: float) -> None:
        """Close the connections that were not used for some time."""
        for stream in [stream for stream, (_, since) in self._kept.items() if since < now - limits.POOLED_S]:
            self._drop(stream)

    def close(self) -> None:
        """Close all kept connections."""
        for stream in [*self._kept]:
            self._drop(stream)

    def _taken(self, server: str, within_s: float) -> Stream | None:
        """Return the most recently used kept connection, if its last use is within `within_s` seconds."""
        for stream, (of, since) in reversed(self._kept.items()):
            if of != server or since < time.monotonic() - within_s:
                break
            del self._kept[stream]
            stream.alert = None
            return stream
        return None

    def _drop(self, stream: Stream) -> None:
        self._kept.pop(stream, None)
        stream.close()


async def _asked(stream: Stream, raw: bytes) -> AnswerHead:
    try:
        async with asyncio.timeout(limits.SERVER_S):
            if left := stream.send(raw):
                await stream.flush(left)
            return await read_answer(stream)
    except BaseException:
        stream.reset()
        raise


async def connect(server: str) -> Stream:
    """Return a connection to the server at a URL or at ADDRESS:PORT. Raises OSError."""
    found = urlsplit(server if "//" in server else f"//{server}")
    host = found.hostname or ""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(limits.CONNECT_S):
            await asyncio.get_running_loop().sock_connect(sock, (host, found.port or _HTTP_PORT))
        return Stream(sock)
    except BaseException:
        sock.close()
        raise


async def read_answer(stream: Stream) -> AnswerHead:
    """Return the head of the next answer that is not interim, without a timeout. Raises OSError, NoHead."""
    while True:
        heads = AnswerHeads()
        while (found := heads.next(stream.buffer) if stream.buffer else None) is None:
            await stream.more()
        if found.status >= _FINAL:
            return found
        if found.status == _SWITCHING:
            raise NoHead("it switched to another protocol")
