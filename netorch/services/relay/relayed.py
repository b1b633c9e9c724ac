"""A relayed connection: moves data from each end to the other, no faster than that end reads.

The relay writes data as soon as it has read it. Data that the other end does not accept is kept, and reading stops
until it is written. So an idle connection holds no memory in the process except its sockets. A slow reader slows down
the writer by TCP flow control.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

from netorch.services.relay import limits

# struct linger: close(2), or the end of a killed process, resets the connection, and the kernel drops all its data.
_RESET: Final = struct.pack("ii", 1, 0)
_COMPLETE: Final = struct.pack("ii", 0, 0)  # struct linger: close(2) leaves the rest to the kernel


class Keeper(Protocol):
    """Keeps track of connections."""

    def moved(self, connection: Relayed) -> float:
        """Note traffic in a connection, and return the time in seconds."""
        ...

    def ended(self, connection: Relayed) -> None:
        """Note the end of a connection."""
        ...


class _Way:
    """One direction."""

    def __init__(self, source: socket.socket, sink: socket.socket, first: bytes, owner: Relayed) -> None:
        self._source = source
        self._sink = sink
        self._left = memoryview(first)  # data that the sink has not accepted yet
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._waits = False  # for the sink
        self._ends = False  # whether the source has ended
        self.ended = False  # and the sink is shut down

    def begin(self) -> None:
        """Start to move data."""
        self._loop.add_reader(self._source, self._read)
        self._write()

    def _read(self) -> None:
        for _ in range(limits.CHUNKS):
            try:
                data = self._source.recv(limits.CHUNK)
            except BlockingIOError:
                return
            except OSError:
                self._owner.cut()
                return
            self._owner.touch()
            self._ends, self._left = not data, memoryview(data)
            self._write()
            if self._ends or self._left:
                return

    def _write(self) -> None:
        """Write the rest. Then continue to read, or wait until the sink accepts more."""
        try:
            while self._left:
                self._left = self._left[self._sink.send(self._left) :]
        except BlockingIOError:
            if not self._waits:
                self._waits = True
                self._loop.remove_reader(self._source)
                self._loop.add_writer(self._sink, self._write_on)
            return
        except OSError:
            self._owner.cut()
            return
        if self._waits:
            self._waits = False
            self._loop.remove_writer(self._sink)
            self._loop.add_reader(self._source, self._read)
        if self._ends:
            self._loop.remove_reader(self._source)
            self._end()

    def _write_on(self) -> None:
        self._owner.touch()
        self._write()

    def _end(self) -> None:
        try:
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._owner.cut()
            return
        self.ended = True
        self._owner.half_ended()


class Relayed:
    """A consumer's connection, and after `lead` one to a target. It closes its own sockets."""

    def __init__(self, vni: int, client: socket.socket, now: float, keeper: Keeper) -> None:
        """Take the consumer's VNI and socket, the time in seconds, and the keeper to notify."""
        self.vni = vni
        self.client = client
        self.moved = now
        self._keeper = keeper
        self._is_over = False
        self._target: socket.socket | None = None
        self._ways: tuple[_Way, ...] = ()
        _reset_at_end(client)

    def lead(self, target: socket.socket, first: bytes) -> None:
        """Relay to a target, which gets the bytes `first` before the client's."""
        if self._is_over:
            reset(target)
            return
        self._target = target
        _reset_at_end(target)
        self._ways = (_Way(self.client, target, first, self), _Way(target, self.client, b"", self))
        for way in self._ways:
            if not self._is_over:
                way.begin()

    def touch(self) -> None:
        """Note traffic."""
        self.moved = self._keeper.moved(self)

    def half_ended(self) -> None:
        """Close both ends once both directions have ended."""
        if all(way.ended for way in self._ways):
            self._close(_close_complete)

    def cut(self) -> None:
        """Reset both ends, so that neither takes a partial message for a complete one."""
        self._close(reset)

    def _close(self, how: Callable[[socket.socket], None]) -> None:
        if self._is_over:
            return
        self._is_over = True
        loop = asyncio.get_running_loop()
        for sock in (self.client, self._target):
            if sock is not None:
                loop.remove_reader(sock)
                loop.remove_writer(sock)
                how(sock)
        self._keeper.ended(self)


def reset(sock: socket.socket) -> None:
    """Close a socket at once: its other end sees a reset."""
    _reset_at_end(sock)
    sock.close()


def _reset_at_end(sock: socket.socket) -> None:
    """Let the end of this process reset a connection, so that a partial message is not taken for a complete one."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _close_complete(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _COMPLETE)
    sock.close()


def bound_buffers(sock: socket.socket) -> None:
    """Limit the kernel's buffers of a socket."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, limits.BUFFER)
