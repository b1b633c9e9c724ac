"""A connection of an instance. It closes if requests are too large or too slow.

All instances on the host share one event loop. So a connection answers only one request in each turn of the loop, even
if several have arrived, and no more than the rate limit of its interface allows.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from netorch.services.metadata.answers import Answer
from netorch.services.metadata.requests import END, HEAD_MOST, BadRequest, Request, parse

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0  # for a complete request, and for the client to read the answer
Answerer = Callable[[Request], Answer | None]
Pause = Callable[[], float]  # takes a permit for an answer and returns 0, or returns how long to wait before the next try


class Connection(asyncio.Protocol):
    """Reads requests and writes answers."""

    def __init__(self, answerer: Answerer, pause: Pause, ended: Callable[[Connection], None]) -> None:
        self._answerer = answerer
        self._pause = pause
        self._ended = ended
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next: asyncio.Handle | None = None  # the scheduled next answer
        self._hop_limit = 0  # 0: not set yet
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._next is not None:
            self._next.cancel()
        self._ended(self)

    def data_received(self, data: bytes) -> None:
        """Schedule the answer to complete requests. Close the connection if unanswered bytes exceed the size of a request."""
        self._head += data
        if len(self._head) > HEAD_MOST:
            self.close()
        else:
            self._proceed()

    def pause_writing(self) -> None:
        """Stop reading and answering until the client has read the last answer, even if several requests have arrived."""
        assert self._transport is not None
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Continue."""
        assert self._transport is not None
        self._paused = False
        self._transport.resume_reading()
        self._proceed()

    def _proceed(self) -> None:
        """Schedule the answer to a complete request for the next turn, if the client has read the last answer."""
        if self._next is None and not self._paused and END in self._head:
            self._next = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Answer one request, or wait until the rate limit permits it."""
        assert self._transport is not None
        self._next = None
        if self._paused or self._transport.is_closing():
            return
        if wait_s := self._pause():
            self._next = asyncio.get_running_loop().call_later(wait_s, self._take_turn)
            return
        head, _, self._head = self._head.partition(END)
        self._wait()
        if self._respond(head):
            self._proceed()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection once the last answer is written, or at once if the client does not read it in time."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._expire)

    def _expire(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _respond(self, head: bytes) -> bool:
        """Write the answer to a request. Return whether the connection stays open."""
        assert self._transport is not None
        try:
            request = parse(head)
        except BadRequest:
            self._transport.write(Answer(status=400).encode(head_only=False, persistent=False))
            return False
        answer = self._answerer(request)
        if answer is None:
            return False
        if answer.hop_limit:
            self._limit(answer.hop_limit)
        self._transport.write(answer.encode(head_only=request.method == "HEAD", persistent=request.persistent))
        return request.persistent

    def _limit(self, hops: int) -> None:
        """Limit the TTL of all further packets of this connection.

        The limit is never raised again: a retransmission uses the limit that holds at its time.
        """
        assert self._transport is not None
        self._hop_limit = min(hops, self._hop_limit or hops)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._hop_limit)
