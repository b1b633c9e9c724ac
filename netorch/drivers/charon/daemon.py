"""charon as a process: started, watched, stopped. It outlives the agent, and a later agent finds it by its control socket.

It runs in a session of its own. Which process it is the kernel tells of the control socket. `charon-systemd` needs no systemd and
no file with a process id: several may run on a machine, in namespaces of their own.
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
from netorch.drivers.charon.control import CharonError, Control
from netorch.drivers.charon.settings import settings

PROGRAM: Final = "charon-systemd"
PACKAGES: Final = "charon-systemd libstrongswan-standard-plugins"
START_S: Final = 10.0
ANSWER_S: Final = 2.0
_POLL_S: Final = 0.01
_PATH: Final = "/usr/sbin:/sbin"
_CONF: Final = "STRONGSWAN_CONF"


class Daemon:
    """The charon of one namespace; `directory` is netorch's own, and the namespace's."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        self.directory = directory
        self.socket = directory / "charon.vici"
        self._settings = directory / "strongswan.conf"
        self._said = directory / "stderr"
        self._fd = fd
        self._pid = 0  # of the process that is watched
        self._watched: int | None = None  # a descriptor of it
        self._child: subprocess.Popen[bytes] | None = None  # if it was started by us, not by an earlier agent
        self._ends = select.epoll()

    @contextmanager
    def connected(self) -> Iterator[Control]:
        """Open a connection to the charon that runs here, which is watched from now on. Raises CharonError."""
        with Control(self.socket, ANSWER_S) as control:
            self._watch(control.pid())
            self._check_place(control.pid())
            yield control

    def start(self, connections: int) -> None:
        """Start a charon for so many connections and return when it answers; one that does not answer is ended first.

        Raises:
          CharonError: it is not installed, or has ended at once.
        """
        program = _program()
        self._end(signal.SIGKILL)
        self._end_lost()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self._settings.write_text(settings(self.directory, connections))
        environment = {_CONF: str(self._settings), "PATH": _PATH}
        nothing = subprocess.DEVNULL
        with self._said.open("wb") as said, netns.inside(self._fd):
            self._child = subprocess.Popen(
                [program], env=environment, stdin=nothing, stdout=nothing, stderr=said, start_new_session=True, umask=0o077
            )
        self._watch(self._child.pid)
        deadline = time.monotonic() + START_S
        while True:
            try:
                with self.connected() as control:
                    control.ask("version")
                    return
            except CharonError as error:
                if self.has_ended() or time.monotonic() > deadline:
                    raise CharonError(f"{error}; {self._last_words()}its log says more: journalctl -t charon-systemd") from error
                time.sleep(_POLL_S)

    def stop(self) -> None:
        """End charon, which tells its peers, and remove what it had."""
        with suppress(CharonError), self.connected():
            pass  # now it is known which process it is
        self._end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)

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

    def _check_place(self, pid: int) -> None:
        """Raise CharonError for a charon that is left of another namespace."""
        try:
            here = os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.fstat(self._fd))
        except OSError as error:
            raise CharonError("charon has ended") from error
        if not here:
            raise CharonError("charon runs in another namespace")

    def _last_words(self) -> str:
        try:
            lines = self._said.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return f"{lines[-1]}; " if lines else ""

    def _watch(self, pid: int) -> None:
        if self._watched is not None:
            if self._pid == pid:
                return
            self._forget()
        try:
            self._watched, self._pid = os.pidfd_open(pid), pid
        except OSError as error:
            raise CharonError("charon has ended") from error
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
            if self._ends.poll(START_S):
                break
        self._forget()

    def _end_lost(self) -> None:
        """End a charon of ours whose control socket somebody has deleted: it holds the ports, and nobody can talk to it."""
        ours = f"{_CONF}={self._settings}".encode()
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            with suppress(OSError, CharonError):
                if (process / "comm").read_text().strip() != PROGRAM:
                    continue
                if ours in (process / "environ").read_bytes().split(b"\0"):
                    self._watch(int(process.name))
                    self._end(signal.SIGKILL)


def _program() -> str:
    found = shutil.which(PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:{_PATH}")
    if found is None:
        raise CharonError(f"{PROGRAM} is not installed; apt-get install {PACKAGES}", errno.ENOENT)
    return found
