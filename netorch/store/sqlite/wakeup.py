"""How processes that share a database file notify each other of a commit: `<db>.rev`, eight bytes, written after it.

The lock of all writers is on `<db>.lock`, which only the owner can open: even a read-only descriptor is enough for a
lock. inotify on the database's own log fires before the commit is visible; on `<db>.rev` it fires after. A timer finds
lost notifications (a writer killed between commit and signal, a file system without inotify): once a second, or every
20 ms if no inotify instance is available (128 for each user by default).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netorch.errors import StoreUnavailable
from netorch.store.modes import FILE_MODE, PRIVATE_MODE, give_to_group, tighten
from netorch.store.sqlite.holders import holder_text

LOCK_TIMEOUT_S: Final = 10.0
IDLE_CHECK_S: Final = 1.0
POLL_S: Final = 0.02
_IN_MODIFY: Final = 0x2  # linux/inotify.h
_NOW_NS: Final = 1  # zero would disarm the timer

_libc = ctypes.CDLL(None, use_errno=True)


class _Timerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class RevisionFile:
    """`<db>.rev`, which wakes the readers, and `<db>.lock`, the lock of the writers."""

    def __init__(self, database: Path) -> None:
        self.path = Path(f"{database}.rev")
        self._lock_path = Path(f"{database}.lock")
        self._fd = _open(self.path, FILE_MODE)
        try:
            self._lock_fd = _open(self._lock_path, PRIVATE_MODE)
        except StoreUnavailable:
            os.close(self._fd)
            raise

    @contextlib.contextmanager
    def locked(self, patience_s: float) -> Iterator[None]:
        """Hold the writers' lock, among processes. Threads that share this object need another one.

        Raises:
          StoreUnavailable: another process has held it for `patience_s`.
        """
        self._lock(patience_s)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def ring(self, revision: int) -> None:
        """Wake every reader."""
        with contextlib.suppress(OSError):  # the commit is done; readers find it by their timer
            os.pwrite(self._fd, revision.to_bytes(8), 0)

    def is_current(self) -> bool:
        """Return whether the paths still lead to the open files."""
        try:
            return all(
                os.path.samestat(os.fstat(fd), os.stat(path))
                for fd, path in ((self._fd, self.path), (self._lock_fd, self._lock_path))
            )
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptors, which releases the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            os.close(self._lock_fd)
            self._fd = self._lock_fd = -1

    def _lock(self, patience_s: float) -> None:
        if self._lock_fd < 0:
            raise StoreUnavailable(f"store: {self.path}: the store is closed; connect again")
        pause = 0.0001
        give_up = time.monotonic() + patience_s
        while True:
            try:
                return fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    text = holder_text(self._lock_path)
                    raise StoreUnavailable(f"store: {self._lock_path}: waited {patience_s:g} s; it is {text}") from None
            except OSError as error:
                raise StoreUnavailable(f"store: {self._lock_path}: {error.strerror}; connect again") from error
            time.sleep(pause)
            pause = min(pause * 1.5, 0.002)


def _open(path: Path, mode: int) -> int:
    try:
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    except OSError as error:
        raise StoreUnavailable(
            f"store: {path}: {error.strerror}; make the file and its directory writable, or give another path"
        ) from error
    if is_new:
        give_to_group(path)
    tighten(path, mode)
    return descriptor


class Wakeup:
    """A descriptor that is readable after a commit of any process, and at intervals."""

    def __init__(self, watched: Path) -> None:
        self._inotify = _open_inotify(watched)
        self._timer = _call("timerfd_create", time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._timer, select.EPOLLIN)
        if self._inotify >= 0:
            self._epoll.register(self._inotify, select.EPOLLIN)
        self.again()

    @property
    def notified(self) -> bool:
        """Whether commits wake the reader at once; else they are found by polling."""
        return self._inotify >= 0

    def fileno(self) -> int:
        """Return the descriptor; -1 once closed."""
        return -1 if self._epoll.closed else self._epoll.fileno()

    def clear(self) -> None:
        """Reset the descriptor until the next event. Read the database after this, not before."""
        for fd in (self._timer, self._inotify):
            if fd >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)

    def again(self) -> None:
        """Make the descriptor readable now: there are more events."""
        period = IDLE_CHECK_S if self._inotify >= 0 else POLL_S
        spec = _Timerspec(int(period), int(period % 1 * 1e9), 0, _NOW_NS)
        _call("timerfd_settime", self._timer, 0, ctypes.byref(spec), None)

    def close(self) -> None:
        """Close all descriptors."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._timer)
            if self._inotify >= 0:
                os.close(self._inotify)


def _open_inotify(watched: Path) -> int:
    """Return an inotify descriptor for writes to the file, or -1 if this user has none left."""
    try:
        fd = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENOMEM, errno.ENOSYS):
            return -1
        raise
    try:
        _call("inotify_add_watch", fd, os.fsencode(watched), _IN_MODIFY)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.ENOSPC, errno.ENOMEM):
            return -1
        raise StoreUnavailable(f"store: {watched}: {error.strerror}; connect again") from error
    return fd


def _call(function: str, *arguments: object) -> int:
    result: int = getattr(_libc, function)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result
