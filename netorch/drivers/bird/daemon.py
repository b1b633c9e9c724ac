"""bird as a process: started, watched, stopped. It outlives the agent, and a later agent finds it by its control socket.

It runs in a session of its own, as the owner of its file, with the few capabilities that it keeps (capabilities(7)). Which
process it is the kernel tells of the control socket, so no file has to be right about that.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.drivers.bird.control import BirdError, Control, Refused

PACKAGE: Final = "bird2"
USER: Final = "bird"
START_S: Final = 30.0  # a thousand sessions on a slow machine
END_S: Final = 5.0
ANSWER_S: Final = 1.0
_POLL_S: Final = 0.01
_PATH: Final = "/usr/sbin:/sbin"


class Daemon:
    """The bird of one namespace; `directory` is netorch's own, and the namespace's."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        self.config = directory / "bird.conf"
        self._socket = directory / "bird.ctl"
        self._fd = fd
        self._pid = 0  # of the process that is watched
        self._watched: int | None = None  # a descriptor of it
        self._child: subprocess.Popen[bytes] | None = None  # if it was started by us, not by an earlier agent
        self._ends = select.epoll()

    @contextmanager
    def connected(self) -> Iterator[Control]:
        """Open a connection to the bird that runs here and answers, which is watched from now on. Raises BirdError."""
        with Control(self._socket, ANSWER_S) as control:
            self._watch(control.pid())
            control.greet()
            self._check_place(control.pid())
            yield control

    def _check_place(self, pid: int) -> None:
        """Raise BirdError for a bird that is left of another namespace."""
        try:
            here = os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.fstat(self._fd))
        except OSError as error:
            raise BirdError("bird has ended") from error
        if not here:
            raise BirdError("bird runs in another namespace")

    def check(self, path: Path) -> None:
        """Let bird parse a configuration. Raises Refused with what it says, BirdError when it is not installed."""
        command = [_program(), "-p", "-c", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=START_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise BirdError(f"bird has not parsed {path} in {START_S} s") from error
        if done.returncode:
            raise Refused(" ".join(done.stderr.split()), errno.EINVAL)

    def start(self) -> None:
        """Start bird with its configuration and return when it answers; one that does not answer is ended first.

        Raises:
          BirdError: it is not installed, or has ended at once.
        """
        program = _program()
        self._end(signal.SIGKILL)
        rights = ("-u", self.config.owner(), "-g", self.config.group())
        arguments = [program, "-f", "-c", str(self.config), "-s", str(self._socket), *rights]
        nothing = subprocess.DEVNULL
        with netns.inside(self._fd):
            self._child = subprocess.Popen(arguments, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        self._watch(self._child.pid)
        deadline = time.monotonic() + START_S
        while True:
            try:
                with self.connected():
                    return
            except BirdError as error:
                if self.has_ended() or time.monotonic() > deadline:
                    raise BirdError(f"{error}; its log says more: journalctl -t bird") from error
                time.sleep(_POLL_S)

    def stop(self) -> None:
        """End bird, which tells its neighbours, and remove what it had."""
        with suppress(BirdError), self.connected():
            pass  # now it is known which process it is
        self._end(signal.SIGTERM)
        for path in (self._socket, self.config):
            path.unlink(missing_ok=True)

    def has_ended(self) -> bool:
        """Return whether the watched process has ended since it was last asked; it is watched no longer then."""
        if self._watched is None or not self._ends.poll(0):
            return False
        self._forget()
        return True

    def fileno(self) -> int:
        """Return a descriptor that is readable when the watched process has ended."""
        return self._ends.fileno()

    def close(self) -> None:
        """Watch it no longer; it goes on."""
        if self._watched is not None:
            self._forget()
        if self._child is not None:
            self._child.returncode = 0  # else Python warns of a child that nobody waits for
        self._ends.close()

    def _watch(self, pid: int) -> None:
        if self._watched is not None:
            if self._pid == pid:
                return
            self._forget()
        try:
            self._watched, self._pid = os.pidfd_open(pid), pid
        except OSError as error:
            raise BirdError("bird has ended") from error
        self._ends.register(self._watched, select.EPOLLIN)

    def _forget(self) -> None:
        assert self._watched is not None
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        self._ends.unregister(self._watched)
        os.close(self._watched)
        self._watched = None

    def _end(self, number: signal.Signals) -> None:
        """End the watched process, if it still runs; by force if it takes too long."""
        if self._watched is None:
            return
        for each in (number, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._watched, each)
            if self._ends.poll(END_S):
                break
        self._forget()


def _program() -> str:
    found = shutil.which("bird", path=f"{os.environ.get('PATH', os.defpath)}:{_PATH}")
    if found is None:
        raise BirdError(f"bird is not installed; apt-get install {PACKAGE}", errno.ENOENT)
    return found
