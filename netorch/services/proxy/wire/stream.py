"""A TCP connection on the event loop. What comes is read ahead, up to a limit; who sends waits for the other end.

asyncio's own transports are not used, because bodies are moved from socket to socket by splice(2), past Python.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from netorch.services.proxy import limits

_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection, and the kernel keeps nothing of it
_PIECE: Final = bytearray(1 << 16)  # what is read at once; one for all, because it is empty again before anybody else reads
_VIEW: Final = memoryview(_PIECE)


class Ended(ConnectionError):
    """The other end has gone, in the middle of something."""


class Stream:
    """A connection. One task uses it at a time.

    `alert` is called when something has come, or the other end has gone, and nobody waits for it.
    """

    __slots__ = (
        "_loop",
        "_sock",
        "_taker",
        "_waiter",
        "_watches",
        "_writer",
        "alert",
        "broken",
        "buffer",
        "ended",
        "fd",
        "on_reset",
    )

    def __init__(self, sock: socket.socket) -> None:
        """Take a connected socket, which does not block."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._taker: Callable[[], None] = self._take
        self._waiter: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._watches = False
        self.fd = sock.fileno()  # -1: it is closed
        self.buffer = bytearray()  # what has come, and nobody has taken
        self.ended = False  # whether nothing more will come
        self.broken = False  # whether it has ended before the other end said so
        self.alert: Callable[[], None] | None = None
        self.on_reset: Callable[[], object] | None = None  # what is to end with the connection when this end resets it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.watch()

    def watch(self, taker: Callable[[], None] | None = None) -> None:
        """Read when something comes: into the buffer, or by calling `taker`."""
        self._taker = taker or self._take
        if not self._watches and not self.ended and self.fd >= 0:
            self._watches = True
            self._loop.add_reader(self.fd, self._readable)

    def rest(self) -> None:
        """Let what comes wait in the kernel."""
        if self._watches:
            self._watches = False
            self._loop.remove_reader(self.fd)

    async def more(self) -> None:
        """Wait until more is in the buffer. Raises Ended: nothing will come."""
        if not self.ended:
            self.watch()
            self._waiter = self._loop.create_future()
            had = len(self.buffer)
            try:
                await self._waiter
            finally:
                self._waiter = None
            if len(self.buffer) > had:
                return
        raise Ended("the connection has ended")

    def taken(self, count: int) -> bytes:
        """Return the first bytes of the buffer, which are no longer in it."""
        found = bytes(self.buffer[:count])
        del self.buffer[:count]
        return found

    def send(self, data: bytes | memoryview) -> memoryview:
        """Send as much as goes at once, and return what is left. Raises ConnectionError."""
        view = memoryview(data)
        try:
            return view[self._sock.send(view) :]
        except (BlockingIOError, InterruptedError):
            return view
        except OSError as error:
            raise Ended(str(error)) from error

    async def flush(self, left: memoryview) -> None:
        """Send all that is left. Raises ConnectionError."""
        while left:
            left = await self.send_some(left)

    async def send_some(self, left: memoryview) -> memoryview:
        """Wait until something of it can be sent, and return what is left then. Raises ConnectionError."""
        if self.fd < 0:
            raise Ended("the connection is closed")
        self._writer = self._loop.create_future()
        self._loop.add_writer(self.fd, self._writable)
        try:
            await self._writer
        finally:
            self._writer = None
            if self.fd >= 0:
                self._loop.remove_writer(self.fd)
        return self.send(left)

    async def finish(self) -> None:
        """Close the connection once the other end has read what it was sent, or some time is over.

        What it still sends is thrown away: to close with unread bytes would reset the connection, and the answer be lost.
        """
        with suppress(OSError, TimeoutError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(limits.LINGER_S):
                while not self.ended:
                    self.buffer.clear()
                    await self.more()
        self.close()

    def end_writing(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection at once; the other end sees a reset, and takes no half for a whole."""
        if self.fd >= 0:
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close()
            if self.on_reset is not None:
                self.on_reset()

    def close(self) -> None:
        """Close the connection."""
        if self.fd < 0:
            return
        self.rest()
        self._loop.remove_writer(self.fd)  # whoever has added it: its number may be another connection's in a moment
        self._sock.close()
        self.fd, self.ended = -1, True
        _wake(self._waiter)
        _wake(self._writer)

    def local(self) -> tuple[str, int]:
        """Return the address and port of this end."""
        found: tuple[str, int] = self._sock.getsockname()
        return found

    def has_ended(self, *, broken: bool) -> None:
        """Note that nothing more will come."""
        self.ended, self.broken = True, broken
        self.rest()

    def _readable(self) -> None:
        self._taker()

    def _writable(self) -> None:
        _wake(self._writer)

    def _take(self) -> None:
        try:
            count = self._sock.recv_into(_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.has_ended(broken=True)
        else:
            self._keep(count)
        if self._waiter is not None:
            _wake(self._waiter)
        elif self.alert is not None:
            self.alert()

    def _keep(self, count: int) -> None:
        if not count:
            self.has_ended(broken=False)
            return
        self.buffer += _VIEW[:count]
        if len(self.buffer) >= limits.READ_AHEAD:
            self.rest()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
