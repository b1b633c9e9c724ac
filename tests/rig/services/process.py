"""netorch's service daemon as a process without root: its sockets are on loopback, and the test passes them to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from netorch.drivers.services.control import Control, ServicesError
from netorch.state.base import OUTSIDE
from netorch.state.daemons.services.base import ServiceObject
from tests.rig.world import wait_for

LOOPBACK: Final = "127.0.0.1"
_ANSWER_S: Final = 30.0


class ServiceProcess:
    """The daemon. `ports`: the ports of each listener's sockets, by device."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: dict[str, tuple[int, ...]] = {}
        self._control = directory / "control"
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def put(self, *objects: ServiceObject) -> None:
        """Put objects into the daemon. A listener gets free ports the first time, and the same ports again later."""
        with Control(self._control, _ANSWER_S) as control:
            control.greet()
            for obj in objects:
                with ExitStack() as stack:
                    ports = self.ports.get(getattr(obj, "ifname", ""), (0,) * len(obj.sockets))
                    sockets = [stack.enter_context(closing(_listening(port))) for port in ports]
                    if obj.sockets:
                        self.ports[getattr(obj, "ifname", "")] = tuple(sock.getsockname()[1] for sock in sockets)
                    control.put(obj, sockets)

    def delete(self, *objects: ServiceObject) -> None:
        """Delete objects from the daemon."""
        with Control(self._control, _ANSWER_S) as control:
            control.greet()
            for obj in objects:
                control.delete(obj)

    def counts(self) -> dict[str, Mapping[str, int]]:
        """Return the daemon's counters by id."""
        with Control(self._control, _ANSWER_S) as control:
            control.greet()
            return dict(control.counts())

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait until the process ends."""
        self._process.send_signal(number)
        self._process.wait()

    def replace(self, number: signal.Signals) -> subprocess.Popen[bytes]:
        """Send a signal, wait until the daemon no longer answers, and start another. Return the old process, ended or not."""
        ending = self._process
        ending.send_signal(number)
        wait_for(lambda: not self._greets(), "the daemon to answer no more")
        self._start()
        return ending

    def restart(self) -> None:
        """Start a new daemon, which has no objects."""
        self._start()

    def memory(self) -> int:
        """Return the daemon's peak resident memory in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10

    def said(self) -> str:
        """Return the daemon's log."""
        return (self.directory / "stderr").read_text()

    def _start(self) -> None:
        self._control.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control, (self.directory / "stderr").open("ab") as said:
            control.bind(str(self._control))
            command = [
                sys.executable,
                "-I",
                "-m",
                "netorch.services",
                OUTSIDE,
                str(self.directory / "log"),
                str(control.fileno()),
            ]
            self._process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stderr=said, pass_fds=(control.fileno(),)
            )
        wait_for(self._begins, "the daemon", 60.0)

    def _begins(self) -> bool:
        assert self._process.poll() is None, self.said()
        return self._greets()

    def _greets(self) -> bool:
        try:
            with Control(self._control, _ANSWER_S) as control:
                control.greet()
        except ServicesError:
            return False
        return True


@contextmanager
def service_process() -> Iterator[ServiceProcess]:
    """Run a daemon in a directory that stays accessible after the daemon has dropped root."""
    directory = Path(tempfile.mkdtemp(prefix="netorch-services-"))
    process = None
    try:
        directory.chmod(0o711)
        (directory / "log").mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(directory / "log", "nobody", "nogroup")
        process = ServiceProcess(directory)
        yield process
    finally:
        if process is not None:
            process.kill()
        shutil.rmtree(directory)


def _listening(port: int) -> socket.socket:
    return socket.create_server((LOOPBACK, port), backlog=128)
