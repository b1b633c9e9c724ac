"""Bodies between a client and the server: streams in both directions. Neither end is read faster than the other one accepts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from netorch.services.proxy import answers, limits
from netorch.services.proxy.crowd import Client
from netorch.services.proxy.head import CONNECTION, Head
from netorch.services.proxy.wire.chunks import LAST, Chunks, NoChunks, chunk
from netorch.services.proxy.wire.heads import AnswerHead
from netorch.services.proxy.wire.pump import Pump
from netorch.services.proxy.wire.stream import Ended, Stream

_NOT_PASSED_ON: Final = frozenset(name.encode() for name in CONNECTION) | {b"transfer-encoding"}
_BODILESS: Final = frozenset((204, 304))
_INTERIM: Final = b"HTTP/1.1 1"


class BrokenAnswer(ConnectionError):
    """The server did not finish its answer. The client sees a reset."""


class ClientEnd:
    """The client's end of one exchange."""

    def __init__(self, client: Client, stream: Stream) -> None:
        self._client = client
        self._stream = stream
        self.received = 0  # bytes of the request's body
        self.sent = 0  # bytes of the answer's body

    @property
    def is_gone(self) -> bool:
        """Return whether the client is gone."""
        return self._stream.ended

    async def say(self, data: bytes) -> None:
        """Send bytes at the client's pace. Raises ConnectionError."""
        left = self._stream.send(data)
        while left:
            self._client.hurry()
            rest = await self._stream.send_some(left)
            self._client.earn(len(left) - len(rest))
            left = rest
        self._client.rest()

    def whole_body(self, head: Head) -> bytes | None:
        """Return a body that has arrived completely, as many small ones do, or None if it has not."""
        length = head.length
        if length is None or len(self._stream.buffer) < length:
            return None
        self.received = length
        return self._stream.taken(length)

    async def body(self, head: Head) -> AsyncIterator[bytes]:
        """Yield the body of a request. Raises NoChunks, ConnectionError."""
        stream, chunks, left = self._stream, Chunks(), head.length or 0
        while left or (head.chunked and not chunks.ended):
            piece = chunks.take(stream.buffer) if head.chunked else stream.taken(left)
            if piece:
                left -= 0 if head.chunked else len(piece)
                self.received += len(piece)
                yield piece
            elif not chunks.ended:
                await self._client.awaited(self._more(), int)

    async def pass_body(self, head: Head, server: Stream) -> bool:
        """Forward a request's body while it arrives. Return whether the whole body was sent: a server may answer earlier.

        Raises:
          NoChunks: the client's body is invalid.
          OSError: one of the ends is gone.
        """
        if head.length is None:
            return await self._pass_chunks(head, server)
        left = head.length
        while piece := self._stream.taken(left):  # more is read ahead while this is sent
            left -= len(piece)
            self.received += len(piece)
            await send(server, piece)
        if not left:
            return True
        pump = Pump(self._stream, server, left, self._took)
        pump.on_blocked = lambda blocked: self._client.rest() if blocked else self._client.hurry()
        server.alert = lambda: None if _is_interim(server) else pump.stop()
        self._client.hurry()
        try:
            await pump.run(limits.SERVER_S)
        finally:
            server.alert = None
            self._client.rest()
        return pump.is_complete

    async def pass_on(self, answer: AnswerHead, server: Stream, *, is_bare: bool, ends: bool) -> bool:
        """Forward an answer while it arrives. Return whether the server's connection can be used again.

        Raises:
          BrokenAnswer: the server closed before the end of the answer, or sent an invalid one.
          ConnectionError: the client is gone.
        """
        is_bare = is_bare or answer.status in _BODILESS
        length = None if answer.chunked else _length(answer)
        headers = [(name, value) for name, value in answer.headers if name.lower() not in _NOT_PASSED_ON]
        if length is None and not is_bare:
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
            headers.append((b"Transfer-Encoding", b"chunked"))
        head = answers.head(answer.status, answer.reason, headers, ends=ends)
        try:
            if is_bare:
                await self.say(head)
            elif length is not None:
                await self._pass_whole(head, server, length)
            else:
                await self._in_chunks(head, server, answer.chunked)
        except (OSError, NoChunks) as error:
            server.reset()
            if self.is_gone:
                raise
            self._stream.reset()
            raise BrokenAnswer(str(error) or type(error).__name__) from error
        except BaseException:
            server.reset()
            raise
        return not answer.closes and (is_bare or length is not None or answer.chunked)

    async def _pass_chunks(self, head: Head, server: Stream) -> bool:
        async for piece in self.body(head):
            await send(server, chunk(piece))
            if server.buffer and not _is_interim(server):
                return False
        await send(server, LAST)
        return True

    async def _pass_whole(self, head: bytes, server: Stream, length: int) -> None:
        first = server.taken(length)
        left = length - len(first)
        self.sent += len(first)
        await self.say(head + first)
        while piece := server.taken(left):  # more is read ahead while this is said
            left -= len(piece)
            self.sent += len(piece)
            await self.say(piece)
        if not left:
            return
        pump = Pump(server, self._stream, left, self._gave)
        pump.on_blocked = lambda blocked: self._client.hurry() if blocked else self._client.rest()
        try:
            await pump.run(limits.SERVER_S)
        finally:
            self._client.rest()

    async def _in_chunks(self, head: bytes, server: Stream, chunked: bool) -> None:
        """Forward an answer of unknown length: one in chunks, or one that ends with its connection."""
        await self.say(head)
        chunks = Chunks()
        while True:
            piece = chunks.take(server.buffer) if chunked else server.taken(limits.READ_AHEAD)
            if piece:
                self.sent += len(piece)
                await self.say(chunk(piece))
            elif chunks.ended or (not chunked and server.ended and not server.broken):
                break
            else:
                await _from_server(server, chunked)
        await self.say(LAST)

    async def _more(self) -> int:
        before = len(self._stream.buffer)
        await self._stream.more()
        return len(self._stream.buffer) - before

    def _took(self, count: int) -> None:
        self.received += count
        self._client.earn(count)

    def _gave(self, count: int) -> None:
        self.sent += count
        self._client.earn(count)


async def send(server: Stream, data: bytes) -> None:
    """Send bytes to the server. Raises OSError, also when the server reads them too slowly."""
    if left := server.send(data):
        async with asyncio.timeout(limits.SERVER_S):
            await server.flush(left)


async def _from_server(server: Stream, chunked: bool) -> None:
    async with asyncio.timeout(limits.SERVER_S):
        try:
            await server.more()
        except Ended:
            if chunked or server.broken:
                raise


def _is_interim(server: Stream) -> bool:
    return bool(server.buffer.startswith(_INTERIM))


def _length(answer: AnswerHead) -> int | None:
    """Return an answer's Content-Length, if it has one. llhttp has refused invalid or multiple lengths."""
    return next((int(value) for name, value in answer.headers if name.lower() == b"content-length"), None)
