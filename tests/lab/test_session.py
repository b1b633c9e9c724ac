"""A lab in the lab kernel that outlives the command, accessed by name from outside."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netorch.errors import LabError
from netorch.lab import Way, down, exec_in, inspect, list_labs, node_names, up
from netorch.lab.kernel import find_kernel

pytestmark = pytest.mark.slow

TOPOLOGY = """
name: pair
topology:
  defaults: {kind: linux}
  nodes:
    left: {exec: ["ip addr add 192.0.2.1/30 dev eth1"], env: {SIDE: left}}
    right: {exec: ["ip addr add 192.0.2.2/30 dev eth1", "test -f pair.clab.yml"]}
  links:
    - endpoints: ["left:eth1", "right:eth1"]
"""


STEPS: list[str] = []


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        find_kernel()
    except LabError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("lab")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_STATE_HOME", str(directory))
    (directory / "pair.clab.yml").write_text(TOPOLOGY)
    yield up(directory / "pair.clab.yml", Way.KERNEL, STEPS.append).name
    down("pair")
    assert not list((directory / "netorch" / "lab").iterdir())
    patch.undo()


def test_it_is_listed_with_its_nodes(lab: str) -> None:
    assert [(found.name, found.running, found.way) for found in list_labs()] == [("pair", True, Way.KERNEL)]
    assert [(row.node, row.links) for row in inspect(lab)] == [("left", ["eth1 -- right:eth1"]), ("right", ["eth1 -- left:eth1"])]


def test_each_step_of_its_way_up_is_told(lab: str) -> None:
    assert STEPS[0].startswith("lab pair: booting the lab kernel")
    assert STEPS[1:4] == ["making 2 nodes and 1 link", "left: running 1 command", "right: running 2 commands"]


def test_its_nodes_are_known_without_asking_it(lab: str) -> None:
    assert node_names(lab) == ["left", "right"]
    assert node_names("other") == []


def test_processes_may_open_many_files(lab: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exec_in(lab, None, ["sh", "-c", "ulimit -n"]) == 0
    assert int(capfd.readouterr().out) >= 65536


def test_a_command_runs_in_its_node(lab: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exec_in(lab, "left", ["ping", "-c", "1", "-W", "2", "192.0.2.2"]) == 0
    assert exec_in(lab, "left", ["sh", "-c", "echo $SIDE; echo err >&2; exit 3"]) == 3
    out, err = capfd.readouterr()
    assert out.endswith("left\n")
    assert err == "err\n"


def test_without_a_node_all_of_them_are_in_sight(lab: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exec_in(lab, None, ["ls", "/run/netns"]) == 0
    assert capfd.readouterr().out.split() == ["left", "right"]
    assert exec_in(lab, None, ["sh", "-c", 'test -f "$NETORCH_STORE"']) == 0


def test_a_large_output_arrives_whole(lab: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exec_in(lab, None, ["seq", "100000"]) == 0
    assert capfd.readouterr().out == "".join(f"{n}\n" for n in range(1, 100001))


@pytest.mark.parametrize(("reads", "heard"), [(True, "vpcs: []\n" * 10000), (False, "")])
def test_standard_input_arrives_where_a_command_names_it(
    lab: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reads: bool, heard: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"vpcs: []\n" * 10000)))
    assert exec_in(lab, None, ["cat"], reads_input=reads) == 0
    assert capfd.readouterr().out == heard


def test_a_file_that_changed_outside_is_seen_changed(lab: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = Path(__file__).with_name(f"changing-{os.getpid()}.txt")  # below /tmp the guest has files of its own
    try:
        for text in ("one\n", "one and a longer two\n", "3\n"):
            file.write_text(text)
            assert exec_in(lab, None, ["cat", str(file)]) == 0
            assert capfd.readouterr().out == text
    finally:
        file.unlink()


def test_what_does_not_exist_is_told(lab: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exec_in(lab, None, ["no-such-command"]) == 127
    assert exec_in(lab, "middle", ["true"]) == 1
    err = capfd.readouterr().err
    assert "no-such-command: No such file" in err
    assert "there is no node 'middle'; there are left, right" in err
    with pytest.raises(LabError, match=r"lab other: it is not up \(running labs: pair\)"):
        inspect("other")


def test_a_second_lab_of_the_name_is_refused(lab: str) -> None:
    with pytest.raises(LabError, match="it is already up"):
        up(Path(os.environ["XDG_STATE_HOME"]) / "pair.clab.yml", Way.KERNEL)


def test_a_shell_is_a_terminal_with_its_size_and_ctrl_c(lab: str) -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    subprocess.run(["stty", "rows", "33", "cols", "101"], stdin=slave, check=True)
    code = f"import sys; from netorch.lab import shell; sys.exit(shell({lab!r}, 'right'))"
    env = {**os.environ, "SHELL": "/bin/sh", "PS1": "ready> "}
    command = ["setsid", "--ctty", sys.executable, "-c", code]
    it = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    try:
        screen = _Screen(master)
        screen.await_text(b"(pair/right) ready> ")
        screen.type(b"stty size; ip -br addr show eth1\n")
        screen.await_text(b"33 101")
        screen.await_text(b"192.0.2.2/30")
        screen.type(b"sleep 1000\n")
        screen.await_text(b"sleep 1000")
        screen.type(b"\x03echo after$((1+1))\n")
        screen.await_text(b"after2")
        screen.type(b"exit 5\n")
        assert it.wait(30) == 5
    finally:
        it.kill()  # has no effect after its end
        it.wait()
        os.close(master)


class _Screen:
    def __init__(self, master: int) -> None:
        self.master = master
        self.text = b""

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def await_text(self, text: bytes) -> None:
        end = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 4096)
        self.text = self.text.partition(text)[2]


def test_a_command_that_fails_in_the_file_leaves_nothing_behind(
    lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "bad.clab.yml").write_text(TOPOLOGY.replace("pair", "bad").replace("192.0.2.2/30", "192.0.2.2/33"))
    with pytest.raises(LabError, match=r"lab bad: right: 'ip addr add 192\.0\.2\.2/33 dev eth1' exited with status 1"):
        up(tmp_path / "bad.clab.yml", Way.KERNEL)
    assert not list((tmp_path / "netorch" / "lab").iterdir())


def test_a_lab_that_is_taken_down_during_a_command_ends_it_in_one_line(
    lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "brief.clab.yml").write_text("name: brief\ntopology: {nodes: {only: {kind: linux}}}\n")
    up(tmp_path / "brief.clab.yml", Way.KERNEL)
    netorch = [sys.executable, "-m", "netorch", "lab"]
    command = [*netorch, "exec", "brief", "--", "sh", "-c", "echo begun; sleep 1000"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    done = subprocess.run(
        [*netorch, "destroy", "-t", str(tmp_path / "brief.clab.yml")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "lab brief is removed\n"
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (1, "error: lab brief: the lab was taken down during the command\n")
    assert not list((tmp_path / "netorch" / "lab").iterdir())
