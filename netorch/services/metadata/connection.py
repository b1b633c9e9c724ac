"""A connection of an instance: one request after the other, small and soon, or it is closed."""

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


class Connection(asyncio.Protocol):
    """Reads requests and writes answers."""

    def __init__(self, answerer: Answerer, ended: Callable[[Connection], None]) -> None:
        self._answerer = answerer
        self._ended = ended
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
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
        self._ended(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._head += data
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
        """Answer requests in their order, as long as the answers are taken."""
        while END in self._head and not self._paused:
            head, _, self._head = self._head.partition(END)
            self._wait()
            if len(head) > HEAD_MOST or not self._respond(head):
                self.close()
                return
        if END not in self._head and len(self._head) > HEAD_MOST:
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
