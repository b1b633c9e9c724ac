"""Moves bytes from one connection to another in the kernel: with splice(2), through a pipe, in the largest possible steps.

A pump holds at most one pipe's bytes, and reads more only when the pipe is empty. So it never reads one end faster than
the other end accepts.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from netorch.services.proxy import limits
from netorch.services.proxy.wire.stream import Ended, Stream

_KEPT: Final = 64  # pipes kept for later pumps
_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class _Pipe(NamedTuple):
    out: int
    into: int

    def close(self) -> None:
        os.close(self.out)
        os.close(self.into)


_idle: Final[list[_Pipe]] = []


def _pipe() -> _Pipe:
    if _idle:
        return _idle.pop()
    made = _Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    with suppress(OSError):  # a user's pipe pages are limited (pipe(7), pipe-user-pages-soft); a smaller pipe works, too
        fcntl.fcntl(made.into, fcntl.F_SETPIPE_SZ, limits.PIPE)
    return made


class Pump:
    """Moves bytes in one direction. `count` is the number of bytes written to the target's socket."""

    def __init__(self, source: Stream, target: Stream, left: int, moved: Callable[[int], None]) -> None:
        """Take the number of bytes to move. `moved` gets the bytes of each step."""
        self._source = source
        self._target = target
        self._left = left  # bytes still to read from the source
        self._held = 0  # bytes in the pipe
        self._moved = moved
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pipe: _Pipe | None = None  # while it holds bytes
        self._timer: asyncio.TimerHandle | None = None
        self._blocked = False
        self.on_blocked: Callable[[bool], None] = lambda blocked: None  # True: it waits for the target, not the source
        self.count = 0

    async def run(self, idle_s: float | None = None) -> None:
        """Move everything. Return earlier if `stop` is called. The source's buffer must be empty.

        Raises:
          Ended: one of the ends closed too early.
          TimeoutError: nothing has moved for `idle_s` seconds.
        """
        if self._source.ended:
            raise Ended("the connection has ended")
        self._source.watch(self._fill)
        if idle_s is not None:
            self._expire(idle_s, before=-1)
        try:
            await self._done
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._close()

    def stop(self) -> None:
        """Make `run` return."""
        if not self._done.done():
            self._done.set_result(None)

    @property
    def is_complete(self) -> bool:
        """Return whether everything is moved."""
        return self._left == 0 and self._held == 0

    def _fill(self) -> None:
        try:
            self._pipe = self._pipe or _pipe()
            count = os.splice(self._source.fd, self._pipe.into, min(self._left, limits.PIPE), flags=_FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._source.has_ended(broken=True)
            self._fail(Ended(str(error)))
            return
        if not count:
            self._source.has_ended(broken=False)
            self._fail(Ended("the connection has ended"))
            return
        self._left -= count
        self._held += count
        if not self._left:
            self._source.watch()  # further bytes are not part of this body
        self._drain()

    def _drain(self) -> None:
        while self._held and self._pipe is not None:
            try:
                count = os.splice(self._pipe.out, self._target.fd, self._held, flags=_FLAGS)
            except (BlockingIOError, InterruptedError):
                self._block(True)
                return
            except OSError as error:
                self._fail(Ended(str(error)))
                return
            self._held -= count
            self.count += count
            self._moved(count)
        self._let_go()
        self._block(False)
        if not self._left:
            self.stop()

    def _block(self, blocked: bool) -> None:
        """Read again, or wait until the target accepts more."""
        if blocked == self._blocked:
            return
        self._blocked = blocked
        loop = asyncio.get_running_loop()
        if blocked:
            self._source.rest()
            loop.add_writer(self._target.fd, self._drain)
        else:
            if self._target.fd >= 0:
                loop.remove_writer(self._target.fd)
            self._source.watch(self._fill if self._left else None)
        self.on_blocked(blocked)

    def _expire(self, idle_s: float, before: int) -> None:
        if self.count == before:
            self._fail(TimeoutError())
        else:
            self._timer = asyncio.get_running_loop().call_later(idle_s, self._expire, idle_s, self.count)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def _close(self) -> None:
        if self._blocked and self._target.fd >= 0:
            asyncio.get_running_loop().remove_writer(self._target.fd)
        if self._source.fd >= 0:
            self._source.watch()
        self._let_go()

    def _let_go(self) -> None:
        """Keep the pipe for the next pump, unless it still holds bytes."""
        if self._pipe is not None:
            if self._held or len(_idle) >= _KEPT:
                self._pipe.close()
            else:
                _idle.append(self._pipe)
            self._pipe = None
