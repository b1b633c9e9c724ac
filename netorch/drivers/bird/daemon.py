"""bird as a process: started, watched, stopped. It outlives the agent, and a later agent finds it by its control socket.

It runs in a session of its own, as the owner of its file, with the few capabilities that it keeps (capabilities(7)). Which
process it is the kernel tells of the control socket, so no file has to be right about that.
"""

from __future__ import annotations

import errno
import os
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
from netorch.drivers.daemons.process import Process

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
        self._process = Process("bird", fd, END_S, BirdError)

    @contextmanager
    def connected(self) -> Iterator[Control]:
        """Open a connection to the bird that runs here and answers, which is watched from now on. Raises BirdError."""
        with Control(self._socket, ANSWER_S) as control:
            self._process.watch(control.pid())
            control.greet()
            self._process.check_place()
            yield control

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
        self._process.end(signal.SIGKILL)
        rights = ("-u", self.config.owner(), "-g", self.config.group())
        arguments = [program, "-f", "-c", str(self.config), "-s", str(self._socket), *rights]
        nothing = subprocess.DEVNULL
        with netns.inside(self._fd):
            child = subprocess.Popen(arguments, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        self._process.started(child)
        deadline = time.monotonic() + START_S
        while True:
            try:
                with self.connected():
                    return
            except BirdError as error:
                if self._process.has_ended() or time.monotonic() > deadline:
                    raise BirdError(f"{error}; its log says more: journalctl -t bird") from error
                time.sleep(_POLL_S)

    def has_ended(self) -> bool:
        """Return whether the watched process has ended since it was last asked; it is watched no longer then."""
        return self._process.has_ended()

    def fileno(self) -> int:
        """Return a descriptor that is readable when the watched process has ended."""
        return self._process.fileno()

    def close(self) -> None:
        """Watch it no longer; it goes on."""
        self._process.close()

    def stop(self) -> None:
        """End bird, which tells its neighbours, and remove what it had."""
        with suppress(BirdError), self.connected():
            pass  # now it is known which process it is
        self._process.end(signal.SIGTERM)
        for path in (self._socket, self.config):
            path.unlink(missing_ok=True)


def _program() -> str:
    found = shutil.which("bird", path=f"{os.environ.get('PATH', os.defpath)}:{_PATH}")
    if found is None:
        raise BirdError(f"bird is not installed; apt-get install {PACKAGE}", errno.ENOENT)
    return found
