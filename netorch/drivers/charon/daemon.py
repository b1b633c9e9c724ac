"""charon as a process: start, watch, stop. It outlives the agent, and a later agent finds it by its control socket.

charon runs in its own session; the kernel reports its PID on the control socket. `charon-systemd` needs neither systemd nor a
PID file: several may run on a machine, each in its own namespace.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.drivers.charon.control import CharonError, Control
from netorch.drivers.charon.settings import settings
from netorch.drivers.daemons.process import PATH, Process, Work, find_program

PROGRAM: Final = "charon-systemd"
PACKAGES: Final = "charon-systemd libstrongswan-standard-plugins"
START_S: Final = 10.0
ANSWER_S: Final = 2.0
BUSY_S: Final = 20.0  # for a charon that is making progress: hundreds of peers may initiate at once
_CONF: Final = "STRONGSWAN_CONF"


class Daemon(Process):
    """The charon of one namespace; `directory` belongs to netorch and to this namespace."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        super().__init__(Control, fd, START_S)
        self.directory = directory
        self.socket = directory / "charon.vici"
        self._settings = directory / "strongswan.conf"
        self._said = directory / "stderr"

    @contextmanager
    def connected(self, within_s: float = BUSY_S) -> Iterator[Control]:
        """Open a connection to the namespace's running charon, and watch its process. Raises CharonError.

        The timeout of an answer is ANSWER_S. It is extended while charon makes progress, until `within_s` from now.
        """
        with Control(self.socket, ANSWER_S) as control:
            self.watch(control.pid())
            self.check_place()
            control.is_busy = Work(self, within_s).goes_on
            yield control

    def start(self, connections: int) -> None:
        """Start a charon for this number of connections, and return when it answers; kill one that does not answer first.

        Raises:
          CharonError: charon is not installed, or has exited at once.
        """
        program = find_program(PROGRAM, PACKAGES, CharonError)
        self.end(signal.SIGKILL)
        self.end_lost(self._is_ours)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self._settings.write_text(settings(self.directory, connections))
        environment = {_CONF: str(self._settings), "PATH": PATH}
        nothing = subprocess.DEVNULL
        with self._said.open("wb") as said, netns.inside(self._fd):
            child = subprocess.Popen(
                [program], env=environment, stdin=nothing, stdout=nothing, stderr=said, start_new_session=True, umask=0o077
            )
        self.started(child)
        try:
            self.await_answer(self._asked, START_S)
        except CharonError as error:
            raise CharonError(f"{error}; {self._last_words()}its log says more: journalctl -t charon-systemd") from error

    def _asked(self) -> None:
        with self.connected() as control:
            control.ask("version")

    def stop(self) -> None:
        """Stop charon, which notifies its peers, and delete its directory."""
        with suppress(CharonError), self.connected():
            pass  # this finds its PID
        self.end(signal.SIGTERM)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _last_words(self) -> str:
        try:
            lines = self._said.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return f"{lines[-1]}; " if lines else ""

    def _is_ours(self, process: Path) -> bool:
        if (process / "comm").read_text().strip() != PROGRAM:
            return False
        return f"{_CONF}={self._settings}".encode() in (process / "environ").read_bytes().split(b"\0")
