"""charon as a process: started, watched, stopped. It outlives the agent, and a later agent finds it by its control socket.

It runs in a session of its own. Which process it is the kernel tells of the control socket. `charon-systemd` needs no systemd and
no file with a process id: several may run on a machine, in namespaces of their own.
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
BUSY_S: Final = 20.0  # for a charon that is seen to work: hundreds of peers may begin at once
_CONF: Final = "STRONGSWAN_CONF"


class Daemon(Process):
    """The charon of one namespace; `directory` is netorch's own, and the namespace's."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        super().__init__(Control, fd, START_S)
        self.directory = directory
        self.socket = directory / "charon.vici"
        self._settings = directory / "strongswan.conf"
        self._said = directory / "stderr"

    @contextmanager
    def connected(self, within_s: float = BUSY_S) -> Iterator[Control]:
        """Open a connection to the charon that runs here, which is watched from now on. Raises CharonError.

        An answer may take ANSWER_S, and longer from a charon that works meanwhile: until `within_s` from now.
        """
        with Control(self.socket, ANSWER_S) as control:
            self.watch(control.pid())
            self.check_place()
            control.is_busy = Work(self, within_s).goes_on
            yield control

    def start(self, connections: int) -> None:
        """Start a charon for so many connections and return when it answers; one that does not answer is ended first.

        Raises:
          CharonError: it is not installed, or has ended at once.
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
        """End charon, which tells its peers, and remove what it had."""
        with suppress(CharonError), self.connected():
            pass  # now it is known which process it is
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
