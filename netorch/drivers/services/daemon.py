"""netorch's own daemon as a process: start, watch, stop. It outlives the agent, which finds it by its control socket."""

from __future__ import annotations

import errno
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.drivers.daemons.process import PATH, Process
from netorch.drivers.services.control import Busy, Control, ServicesError
from netorch.drivers.services.silence import Silence

MODULE: Final = "netorch.services"
START_S: Final = 30.0  # to import all modules on a slow machine
END_S: Final = 5.0
ANSWER_S: Final = 2.0
COUNT_S: Final = 0.2  # for counters, which are read every second and may be late
_LOG_BYTES: Final = 1 << 20  # of earlier processes' output, which is kept


class Daemon(Process):
    """The daemon of one namespace; `directory` belongs to netorch and to this namespace."""

    def __init__(self, label: str, directory: Path, fd: int) -> None:
        """Take the label and a descriptor of the namespace, which must stay open."""
        super().__init__(Control, fd, END_S)
        self.directory = directory
        self._label = label
        self.writable = directory / "log"  # the process can write here; the directory outlives the process
        self._socket = directory / "control"
        self._silence: Silence | None = None  # while the latest requests are unanswered

    @contextmanager
    def connected(self) -> Iterator[Control]:
        """Open a connection to the namespace's running daemon, and watch its process.

        Raises:
          Busy: the daemon has not answered, but makes progress.
          ServicesError: it does not run, or it hangs.
        """
        silence, self._silence = self._silence, None
        try:
            with Control(self._socket, ANSWER_S) as control:
                self.watch(control.pid())
                self.check_place()
                silence = silence or Silence(self)
                control.greet()
                yield control
        except ServicesError as error:
            if error.number != errno.ETIMEDOUT or silence is None:
                raise
            self._silence = silence
            if silence.is_work():
                raise Busy(f"{control.daemon} is busy, and has not answered for {ANSWER_S:g} s", errno.ETIMEDOUT) from error
            raise

    def counts(self) -> dict[str, Mapping[str, int]]:
        """Return the daemon's counters by id and name. Raises ServicesError: it does not run, or is too busy."""
        with Control(self._socket, COUNT_S) as control:
            control.greet()
            return dict(control.counts())

    def start(self) -> None:
        """Start the daemon, and return when it answers. One that does not answer is killed first.

        Raises:
          ServicesError: the daemon has exited at once.
          OSError: a file cannot be written.
        """
        self.end(signal.SIGKILL)
        self._silence = None
        self.end_lost(self._is_ours)
        self._make_directories()
        self._socket.unlink(missing_ok=True)
        nothing = subprocess.DEVNULL
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as control:
            control.bind(str(self._socket))
            self._socket.chmod(0o600)
            descriptor = control.fileno()
            command = [*self._command(), str(descriptor)]
            with self._said().open("ab") as said, netns.inside(self._fd):
                child = subprocess.Popen(
                    command,
                    env={"PATH": PATH},
                    cwd="/",
                    stdin=nothing,
                    stdout=nothing,
                    stderr=said,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                    umask=0o077,
                )
        self.started(child)
        try:
            self.await_answer(self._greeted, START_S)
        except ServicesError as error:
            raise ServicesError(f"{error}; its log says more: {self._said()}") from error

    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-m", MODULE, self._label, str(self.writable)]

    def _said(self) -> Path:
        return self.directory / "stderr"

    def _make_directories(self) -> None:
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.writable.mkdir(mode=0o700, exist_ok=True)
        # In a user namespace without this user, the daemon runs as the user who started it, who can already write here.
        with suppress(LookupError, OSError):
            shutil.chown(self.writable, "nobody", "nogroup")
        said = self._said()
        with suppress(FileNotFoundError):
            if said.stat().st_size > _LOG_BYTES:
                said.replace(said.with_suffix(".old"))

    def _greeted(self) -> None:
        with self.connected():
            pass

    def stop(self) -> None:
        """Stop the daemon, and delete its socket, but not its log."""
        with suppress(ServicesError):
            self._greeted()  # this finds its PID
        self.end(signal.SIGTERM)
        self._socket.unlink(missing_ok=True)

    def _is_ours(self, process: Path) -> bool:
        return "\0".join(self._command()[1:]).encode() in (process / "cmdline").read_bytes()
