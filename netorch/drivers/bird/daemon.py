"""bird as a process: start, watch, stop. It outlives the agent, and a later agent finds it by its control socket.

bird runs in its own session, as the owner of its file, with the few capabilities that it keeps (capabilities(7)). The kernel
reports its PID on the control socket, so no PID file is needed.
"""

from __future__ import annotations

import errno
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.drivers.bird.control import BirdError, Control, Refused
from netorch.drivers.daemons.process import Process, find_program

PACKAGE: Final = "bird2"
USER: Final = "bird"
START_S: Final = 30.0  # a thousand sessions on a slow machine
END_S: Final = 5.0
ANSWER_S: Final = 1.0


class Daemon(Process):
    """The bird of one namespace; `directory` belongs to netorch and to this namespace."""

    def __init__(self, directory: Path, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        super().__init__(Control, fd, END_S)
        self.config = directory / "bird.conf"
        self._socket = directory / "bird.ctl"

    @contextmanager
    def connected(self, waits: int = 1) -> Iterator[Control]:
        """Open a connection to the namespace's running bird, and watch its process.

        Raises BirdError: it does not run, or did not greet within ANSWER_S, so many times in a row.
        """
        with Control(self._socket, ANSWER_S) as control:
            self.watch(control.pid())
            for left in reversed(range(waits)):
                try:
                    control.greet()
                    break
                except BirdError as error:
                    if not left or error.number != errno.ETIMEDOUT:
                        raise
            self.check_place()
            yield control

    def check(self, path: Path) -> None:
        """Let bird parse a configuration. Raises Refused with bird's error, BirdError if bird is not installed."""
        command = [find_program("bird", PACKAGE, BirdError), "-p", "-c", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=START_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise BirdError(f"bird did not parse {path} within {START_S} s") from error
        if done.returncode:
            raise Refused(" ".join(done.stderr.split()), errno.EINVAL)

    def start(self) -> None:
        """Start bird with its configuration, and return when it answers. One that does not answer is killed first.

        Raises:
          BirdError: bird is not installed, or has exited at once.
        """
        program = find_program("bird", PACKAGE, BirdError)
        self.end(signal.SIGKILL)
        rights = ("-u", self.config.owner(), "-g", self.config.group())
        arguments = [program, "-f", "-c", str(self.config), "-s", str(self._socket), *rights]
        nothing = subprocess.DEVNULL
        with netns.inside(self._fd):
            child = subprocess.Popen(arguments, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        self.started(child)
        try:
            self.await_answer(self._greeted, START_S)
        except BirdError as error:
            raise BirdError(f"{error}; its log says more: journalctl -t bird") from error

    def _greeted(self) -> None:
        with self.connected():
            pass

    def stop(self) -> None:
        """Stop bird, which notifies its neighbours, and delete its files."""
        with suppress(BirdError):
            self._greeted()  # this finds its PID
        self.end(signal.SIGTERM)
        for path in (self._socket, self.config):
            path.unlink(missing_ok=True)
