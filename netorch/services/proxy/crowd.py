"""The clients' connections of all endpoints: how many there may be, and how long a client may let the proxy wait.

An endpoint that has all that it may have gives up its own longest idle connection for a newcomer, which is turned away if all are
at work. If all endpoints together have all that there may be, the one with the most gives one up. So who opens connections
and says nothing only ever pushes out others of the same kind of the same endpoint.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from netorch.services.proxy import limits

_NEVER: Final = float("inf")
_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection, and the kernel keeps nothing of it
T = TypeVar("T")


class Client(asyncio.Protocol):
    """A client's connection: what comes by it goes to `inner`, and it has a deadline by which the client must do something."""

    __slots__ = ("_admitted", "_allowance", "_crowd", "_inner", "_inside", "_transport", "busy", "deadline", "endpoint")

    def __init__(self, crowd: Crowd, endpoint: str, inner: asyncio.Protocol) -> None:
        self._crowd = crowd
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._admitted = False
        self._inside = False  # whether a head has begun to come
        self._allowance = limits.GRACE_S
        self.endpoint = endpoint
        self.busy = False  # with a request
        self.deadline = crowd.now() + limits.IDLE_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._admitted = self._crowd.admit(self)
        if self._admitted:
            self._inner.connection_made(transport)
        else:
            self.cut()

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        if not (self.busy or self._inside):
            self._inside = True
            self.deadline = self._crowd.now() + limits.HEAD_S
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        if self._admitted:
            self._inner.connection_lost(exc)

    def begin(self) -> None:
        """Note that a request is being answered: from now on only `awaited` makes the client hurry."""
        self.busy = True
        self._allowance = limits.GRACE_S
        self.deadline = _NEVER

    def expect_within(self, seconds: float) -> None:
        """Let the connection be cut when nothing more is heard of it for so long."""
        self.deadline = self._crowd.now() + seconds

    def end(self) -> None:
        """Note that the request was answered."""
        self.busy = self._inside = False
        self.deadline = self._crowd.now() + limits.IDLE_S
        self._crowd.seen(self)

    async def awaited(self, done: Awaitable[T], size: Callable[[T], int]) -> T:
        """Wait for the client, which is cut off when that takes too long; `size` tells how many bytes have moved meanwhile."""
        began = self._crowd.now()
        self.deadline = began + self._allowance
        try:
            result = await done
        finally:
            self.deadline = _NEVER
        earned = size(result) / limits.RATE
        self._allowance = min(limits.GRACE_S, self._allowance - (self._crowd.now() - began) + earned)
        return result

    @property
    def is_gone(self) -> bool:
        """Return whether the connection has ended, or was turned away."""
        return self._transport is None or self._transport.is_closing()

    def cut(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            reset(self._transport)


class Crowd:
    """All connections, by endpoint; of each endpoint's the one that was used last is the last one."""

    def __init__(self, now: Callable[[], float], most: int = limits.CONNECTIONS, of_endpoint: int = limits.OF_ENDPOINT) -> None:
        """Take the time in seconds, and how many connections there may be."""
        self.now = now
        self._most = most
        self._of_endpoint = of_endpoint
        self._clients: dict[str, dict[Client, None]] = {}
        self._count = 0

    def count(self, endpoint: str) -> int:
        """Return how many connections an endpoint has."""
        return len(self._clients.get(endpoint, ()))

    def admit(self, client: Client) -> bool:
        """Return whether a newcomer may stay; another one may have to go for it."""
        if self.count(client.endpoint) >= self._of_endpoint:
            room = self._push_out(client.endpoint)
        elif self._count >= self._most:
            room = self._push_out(max(self._clients, key=self.count))
        else:
            room = True
        if room:
            self._clients.setdefault(client.endpoint, {})[client] = None
            self._count += 1
        return room

    def seen(self, client: Client) -> None:
        """Note that a connection was used."""
        if client in (mine := self._clients.get(client.endpoint, {})):
            del mine[client]
            mine[client] = None

    def leave(self, client: Client) -> None:
        """Note the end of a connection, if it still counts."""
        mine = self._clients.get(client.endpoint, {})
        if client in mine:
            del mine[client]
            self._count -= 1
            if not mine:
                del self._clients[client.endpoint]

    def cut(self, endpoint: str) -> None:
        """Reset all connections of an endpoint."""
        for client in tuple(self._clients.get(endpoint, ())):
            client.cut()

    def sweep(self) -> None:
        """Cut off who is too slow."""
        now = self.now()
        for client in [client for mine in self._clients.values() for client in mine if client.deadline < now]:
            client.cut()

    def _push_out(self, endpoint: str) -> bool:
        idle = next((client for client in self._clients.get(endpoint, ()) if not client.busy), None)
        if idle is None:
            return False
        self.leave(idle)
        idle.cut()
        return True


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once; the other end sees a reset, and takes no half for a whole."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
