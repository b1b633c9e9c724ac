"""A connection of an instance: one request after the other, small and soon, or it is closed.

All instances of the host share one event loop. So a connection answers one request in a turn of the loop, however many have come
at once, and no more of them than its interface may have.
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

PATIENCE_S: Final = 5.0  # for a whole request, and for its answer to be taken
Answerer = Callable[[Request], Answer | None]
Pause = Callable[[], float]  # takes a permit for an answer and returns 0, or returns how long to wait before it asks again


class Connection(asyncio.Protocol):
    """Reads requests and writes answers."""

    def __init__(self, answerer: Answerer, pause: Pause, ended: Callable[[Connection], None]) -> None:
        self._answerer = answerer
        self._pause = pause
        self._ended = ended
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next: asyncio.Handle | None = None  # the turn of the next answer
        self._hop_limit = 0  # 0: none yet
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
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
        """Answer what is complete, in later turns. Who sends more than a request's bytes before it is answered is let go."""
        self._head += data
        if len(self._head) > HEAD_MOST:
            self.close()
        else:
            self._proceed()

    def pause_writing(self) -> None:
        """Read and answer no more while the last answer is not taken, however many questions came at once."""
        assert self._transport is not None
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        assert self._transport is not None
        self._paused = False
        self._transport.resume_reading()
        self._proceed()

    def _proceed(self) -> None:
        """Let a request that is complete be answered in the next turn, if the last answer is taken."""
        if self._next is None and not self._paused and END in self._head:
            self._next = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Answer one request, or wait until that is permitted."""
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
        """End the connection once the last answer is written, or at once if that is not taken in time."""
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
        """Write the answer to a request; return whether more may come."""
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
        """Let no packet of this connection go further from now on.

        It is never raised again: what the other end has not acknowledged is sent again with what holds then.
        """
        assert self._transport is not None
        self._hop_limit = min(hops, self._hop_limit or hops)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._hop_limit)
