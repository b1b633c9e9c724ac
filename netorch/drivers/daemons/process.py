"""A daemon's process, whoever started it: found, watched by a pidfd (pidfd_open(2)), and stopped. It outlives the agent.

A daemon is found by its control socket, which reports the listener's PID (SO_PEERCRED), so no PID file is needed.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from netorch.drivers.daemons.connection import Connection, DaemonError

_POLL_S: Final = 0.01
_WORK: Final = 0.02  # CPU share that a busy process gets even on a crowded machine
_TICKS: Final = os.sysconf("SC_CLK_TCK")  # per second
PATH: Final = "/usr/sbin:/sbin"  # directories of daemons, not in an ordinary user's PATH


class Process:
    """The process of one daemon in a namespace; subclasses start it. Its methods raise `control.failure`."""

    def __init__(self, control: type[Connection], fd: int, end_s: float) -> None:
        """Take its control class, a descriptor of its namespace, which must stay open, and the timeout of its exit."""
        self._name, self._failure = control.daemon, control.failure
        self._fd = fd
        self._end_s = end_s
        self._pid = 0  # of the watched process
        self._watched: int | None = None  # its pidfd
        self._child: subprocess.Popen[bytes] | None = None  # if started by this agent, not by an earlier one
        self._ends = select.epoll()

    def started(self, child: subprocess.Popen[bytes]) -> None:
        """Watch a process that this agent has just started."""
        self._child = child
        self.watch(child.pid)

    def watch(self, pid: int) -> None:
        """Watch this process instead of any other. Raises an error if it has exited, OSError without a free descriptor."""
        if self._watched is not None:
            if self._pid == pid:
                return
            self._forget()
        try:
            self._watched, self._pid = os.pidfd_open(pid), pid
        except ProcessLookupError as error:
            raise self._failure(f"{self._name} has ended") from error
        self._ends.register(self._watched, select.EPOLLIN)

    def check_place(self) -> None:
        """Raise an error if the watched process is in another namespace."""
        try:
            here = os.path.samestat(os.stat(f"/proc/{self._pid}/ns/net"), os.fstat(self._fd))
        except OSError as error:
            raise self._failure(f"{self._name} has ended") from error
        if not here:
            raise self._failure(f"{self._name} runs in another namespace")

    def await_answer(self, answers: Callable[[], object], within_s: float) -> None:
        """Wait until `answers` no longer raises `control.failure`; raise the last one when the process exits, or on timeout."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                answers()
            except self._failure:
                if self.has_ended() or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def processor_s(self) -> float:
        """Return the watched process's CPU time in seconds; 0 if there is no process. Source: proc(5)."""
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def has_ended(self) -> bool:
        """Return whether the watched process has exited since the last call; then it is no longer watched."""
        if self._watched is None or not self._ends.poll(0):
            return False
        self._forget()
        return True

    def fileno(self) -> int:
        """Return a descriptor that is readable when the watched process has exited."""
        return self._ends.fileno()

    def end(self, number: signal.Signals) -> None:
        """Stop the watched process if it still runs; kill it if it takes too long."""
        if self._watched is None:
            return
        for each in (number, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._watched, each)
            if self._ends.poll(self._end_s):
                break
        self._forget()

    def end_lost(self, is_ours: Callable[[Path], bool]) -> None:
        """Kill a process whose control socket was deleted: it holds the ports, and cannot be reached.

        `is_ours` identifies it by its directory in /proc; an OSError means that it is another process.
        """
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with suppress(OSError, self._failure):
                    if is_ours(process):
                        self.watch(int(process.name))
                        self.end(signal.SIGKILL)

    def close(self) -> None:
        """Stop watching; the process keeps running."""
        if self._watched is not None:
            self._forget()
        if self._child is not None:
            self._child.returncode = 0  # avoids Python's warning about an unreaped child
        self._ends.close()

    def _forget(self) -> None:
        assert self._watched is not None
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        self._ends.unregister(self._watched)
        os.close(self._watched)
        self._watched = None


class Work:
    """Distinguishes a busy daemon, which answers late, from a hanging one."""

    def __init__(self, process: Process, most_s: float) -> None:
        """Take its process; after `most_s` seconds it no longer counts as busy."""
        self._process = process
        self._ends = time.monotonic() + most_s
        self._before = process.processor_s(), time.monotonic()

    def goes_on(self) -> bool:
        """Return whether the process has used the CPU since the last call."""
        before, self._before = self._before, (self._process.processor_s(), time.monotonic())
        used, passed = (now - then for now, then in zip(self._before, before, strict=True))
        return self._before[1] < self._ends and used >= _WORK * passed


def find_program(name: str, packages: str, failure: type[DaemonError]) -> str:
    """Return the path of a daemon's program. Raises `failure` if it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{PATH}")
    if found is None:
        raise failure(f"{name} is not installed; apt-get install {packages}", errno.ENOENT)
    return found
