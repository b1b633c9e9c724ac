"""A TCP connection on the event loop. Data is read ahead up to a limit; then the sender waits for the other end.

asyncio's own transports are not used, because splice(2) moves bodies from socket to socket, past Python.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from netorch.services.proxy import limits

_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection, and the kernel drops all its data
_PIECE: Final = bytearray(1 << 16)  # the read buffer; all streams share it, because each read empties it at once
_VIEW: Final = memoryview(_PIECE)


class Ended(ConnectionError):
    """The other end closed the connection unexpectedly."""


class Stream:
    """A connection. One task uses it at a time.

    `alert` is called when data has arrived or the other end has closed, and no task waits for it.
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
        """Take a connected, non-blocking socket."""
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._taker: Callable[[], None] = self._take
        self._waiter: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._watches = False
        self.fd = sock.fileno()  # -1: closed
        self.buffer = bytearray()  # received bytes that are not processed yet
        self.ended = False  # whether no more bytes will arrive
        self.broken = False  # whether it ended with an error, without a FIN
        self.alert: Callable[[], None] | None = None
        self.on_reset: Callable[[], object] | None = None  # called when this end resets the connection
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.watch()

    def watch(self, taker: Callable[[], None] | None = None) -> None:
        """Read when data arrives: into the buffer, or by a call of `taker`."""
        self._taker = taker or self._take
        if not self._watches and not self.ended and self.fd >= 0:
            self._watches = True
            self._loop.add_reader(self.fd, self._readable)

    def rest(self) -> None:
        """Stop reading. The kernel buffers further data."""
        if self._watches:
            self._watches = False
            self._loop.remove_reader(self.fd)

    async def more(self) -> None:
        """Wait until the buffer gets more data. Raises Ended when no more will arrive."""
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
        """Remove the first bytes from the buffer, and return them."""
        found = bytes(self.buffer[:count])
        del self.buffer[:count]
        return found

    def send(self, data: bytes | memoryview) -> memoryview:
        """Send as much as possible at once, and return the rest. Raises ConnectionError."""
        view = memoryview(data)
        try:
            return view[self._sock.send(view) :]
        except (BlockingIOError, InterruptedError):
            return view
        except OSError as error:
            raise Ended(str(error)) from error

    async def flush(self, left: memoryview) -> None:
        """Send the whole rest. Raises ConnectionError."""
        while left:
            left = await self.send_some(left)

    async def send_some(self, left: memoryview) -> memoryview:
        """Wait until some of the rest can be sent, send it, and return the new rest. Raises ConnectionError."""
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
        """Close the connection once the other end has closed it, or after some time.

        Further received data is dropped: a close with unread data would reset the connection and lose the answer.
        """
        with suppress(OSError, TimeoutError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(limits.LINGER_S):
                while not self.ended:
                    self.buffer.clear()
                    await self.more()
        self.close()

    def end_writing(self) -> None:
        """Shut down the sending direction."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection at once, so that the other end does not take a partial message for a complete one."""
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
        self._loop.remove_writer(self.fd)  # whoever added it: the descriptor's number may soon belong to another connection
        self._sock.close()
        self.fd, self.ended = -1, True
        _wake(self._waiter)
        _wake(self._writer)

    def local(self) -> tuple[str, int]:
        """Return the local address and port."""
        found: tuple[str, int] = self._sock.getsockname()
        return found

    def has_ended(self, *, broken: bool) -> None:
        """Note that no more data will arrive."""
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
