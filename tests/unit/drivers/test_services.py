"""A daemon that answers late: a busy one gets time and a hanging one is replaced, so that a flood ends no other connections."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from netorch.drivers.base import Lost
from netorch.drivers.services import daemon, silence
from netorch.drivers.services.control import Control
from netorch.drivers.services.driver import Services
from netorch.drivers.spaces import Spaces
from netorch.state.base import UNDERLAY
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.metadata import InstanceMetadata
from netorch.state.op import Create, Delete, Op

# The daemon's real control socket and a handler, without the parts that need root.
PROGRAM = """
import asyncio, pathlib, socket, sys
from netorch.services.control import Control
from netorch.services.held import Objects
from netorch.services.metadata.handler import Metadata
class Counting(Metadata):
    def counts(self):
        return {"vpce-1": {"requests": 3, "denied": 0}}
listening = socket.socket(fileno=int(sys.argv[1]))
listening.setblocking(False)
listening.listen()
print(flush=True)
asyncio.run(Control(listening, Objects([Counting(pathlib.Path("."))])).serve())
"""
ONE = InstanceMetadata(
    vni=5000, id="i-00138800000000001", places=(("vrf5000", "10.0.0.5"),), enabled=True, needs_token=True, hop_limit=1, tree=()
)
TWO = msgspec.structs.replace(ONE, id="i-00138800000000002", places=(("vrf5000", "10.0.0.6"),))


class Scene:
    """A daemon that can be stopped, and a driver of it with a fake reading of the daemon's processor time."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.works = False
        self.used_s = 0.0
        self.replaced = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.bind(str(directory / "control"))
            command = [sys.executable, "-c", PROGRAM, str(control.fileno())]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(control.fileno(),))
        assert self.process.stdout is not None
        assert self.process.stdout.readline()
        monkeypatch.setattr(daemon, "ANSWER_S", 0.3)
        monkeypatch.setattr(daemon.Daemon, "processor_s", self._processor_s)
        monkeypatch.setattr(daemon.Daemon, "start", self._start)
        here = [os.open("/proc/self/ns/net", os.O_RDONLY) for _ in range(2)]
        self.spaces = Spaces(*here)
        self.services = Services(UNDERLAY, self.spaces, directory)

    def _processor_s(self) -> float:
        self.used_s += 1e6 if self.works else 0.0
        return self.used_s

    def _start(self) -> None:
        self.replaced += 1
        self.process.send_signal(signal.SIGCONT)  # this process answers in place of a new one

    def silent(self, *, works: bool) -> None:
        self.works = works
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # until it has stopped

    def answers(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def known(self) -> set[object]:
        return set(self.services.dump().values())

    def refused(self, *ops: Op) -> list[tuple[Op, int]]:
        return [(failure.op, failure.error.errno) for failure in self.services.apply(ops)]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(tmp_path, monkeypatch)
    yield made
    made.services.close()
    made.spaces.close()
    made.process.kill()
    made.process.communicate()


def test_a_daemon_that_works_keeps_what_it_has_and_takes_nothing_until_it_answers(scene: Scene) -> None:
    assert scene.services.apply([Create(ONE)]) == []
    scene.silent(works=True)
    for _ in range(2):
        assert scene.known() == {ONE}
        ops = (Create(TWO), Delete(ONE))
        assert scene.refused(*ops) == [(op, errno.ETIMEDOUT) for op in ops]
    assert scene.known() == {ONE}
    scene.answers()
    assert scene.known() == {ONE}
    assert scene.services.apply([Create(TWO)]) == []
    assert scene.known() == {ONE, TWO}
    assert (scene.replaced, scene.process.poll(), scene.services.events()) == (0, None, [])


def test_a_daemon_that_hangs_has_nothing_and_is_replaced_at_once(scene: Scene) -> None:
    assert scene.services.apply([Create(ONE)]) == []
    scene.silent(works=False)
    assert scene.known() == set()
    assert scene.services.apply([Create(ONE)]) == []
    assert scene.replaced == 1


def test_a_daemon_is_asked_for_all_that_it_has_only_where_nothing_may_be_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scene.services.apply([Create(ONE), Create(TWO)]) == []
    asked, dump = [], Control.dump

    def counted(control: Control) -> Iterable[ServiceObject]:
        asked.append(control)
        return dump(control)

    monkeypatch.setattr(Control, "dump", counted)
    stopped: list[None] = []
    monkeypatch.setattr(scene.services, "stop", lambda: stopped.append(None))
    assert scene.services.apply([Delete(ONE)]) == []
    assert (len(asked), len(stopped)) == (0, 0)
    assert scene.services.apply([Delete(TWO)]) == []
    assert (len(asked), len(stopped)) == (1, 1)


def test_who_works_and_never_answers_is_replaced_in_the_end_and_all_is_read_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "BUSY_S", 0.0)
    assert scene.services.apply([Create(ONE)]) == []
    scene.silent(works=True)
    for _ in range(silence.QUESTIONS - 1):
        assert scene.known() == {ONE}
    assert scene.services.apply([Create(TWO)]) == []
    assert scene.replaced == 1
    assert scene.services.events() == [Lost(Services.kinds)]
    assert scene.services.events() == []


def test_an_answer_ends_a_silence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "BUSY_S", 0.0)
    assert scene.services.apply([Create(ONE)]) == []
    for _ in range(silence.QUESTIONS):
        scene.silent(works=True)
        assert scene.refused(Delete(ONE)) == [(Delete(ONE), errno.ETIMEDOUT)]
        scene.answers()
        assert scene.known() == {ONE}
    assert scene.replaced == 0


def test_what_a_daemon_has_counted_is_known_while_it_is_busy_and_not_of_one_that_has_ended(scene: Scene) -> None:
    assert scene.services.counts() == {"vpce-1": {"requests": 3}}
    scene.silent(works=True)
    assert scene.services.counts() == {"vpce-1": {"requests": 3}}
    scene.answers()
    scene.process.kill()
    scene.process.wait()
    assert scene.services.counts() == {}
