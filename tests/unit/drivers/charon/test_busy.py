"""A charon that answers late: a busy one gets time, a hanging one does not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netorch.drivers.charon import daemon
from netorch.drivers.charon.control import CharonError
from tests.rig.world import wait_for

# It answers the first command with an empty message after two seconds of work, or sleeps for ever.
_DAEMON = """
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen()
os.rename(sys.argv[1] + ".new", sys.argv[1])
connection, _ = listener.accept()
connection.recv(4096)
if sys.argv[2] == "works":
    while time.process_time() < 2:
        pass
    connection.sendall(bytes((0, 0, 0, 1, 1)))
time.sleep(600)
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], daemon.Daemon]]:
    fd, children, found = os.open("/proc/self/ns/net", os.O_RDONLY), list[subprocess.Popen[bytes]](), daemon.Daemon(tmp_path, 0)

    def start(how: str) -> daemon.Daemon:
        nonlocal found
        found = daemon.Daemon(tmp_path, fd)
        children.append(subprocess.Popen([sys.executable, "-c", _DAEMON, str(found.socket), how]))
        wait_for(found.socket.exists, "the socket")
        return found

    yield start
    found.close()
    os.close(fd)
    for child in children:
        child.kill()
        child.wait()


def test_a_charon_that_works_is_waited_for(started: Callable[[str], daemon.Daemon], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "ANSWER_S", 0.7)
    with started("works").connected(within_s=600.0) as control:
        assert control.ask("version") == {}


@pytest.mark.parametrize(("how", "within_s"), [("sleeps", 600.0), ("works", 0.1)])
def test_one_that_hangs_or_takes_too_long_is_not(
    started: Callable[[str], daemon.Daemon], monkeypatch: pytest.MonkeyPatch, how: str, within_s: float
) -> None:
    monkeypatch.setattr(daemon, "ANSWER_S", 0.7)
    with pytest.raises(CharonError) as caught, started(how).connected(within_s=within_s) as control:
        control.ask("version")
    assert caught.value.number == errno.ETIMEDOUT
