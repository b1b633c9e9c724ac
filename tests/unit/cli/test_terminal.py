"""The command line on a terminal: frames, colours, questions, Ctrl-C; and what is handed on to a lab."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli

Terminal = Callable[..., tuple[int, str]]

CLOUD = """
hosts: [{name: hv1, underlay: 192.0.2.11}]
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{name: app, cidr: 10.44.12.0/24}]
  instances: [{name: web-1, host: hv1}, {name: web-2, host: hv1}]
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Run the command line on a terminal, type `keys` when it asks, and return the exit code and what was on the screen."""
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    (tmp_path / "less.yaml").write_text(CLOUD.replace(", {name: web-2, host: hv1}", ""))

    def run(*arguments: str, columns: int = 120, keys: bytes = b"", **env: str) -> tuple[int, str]:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, "-m", "netorch", *arguments],
            cwd=tmp_path,
            env={"NETORCH_STORE": str(tmp_path / "db"), "PATH": "/usr/bin:/bin", "TERM": "xterm", **env},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        screen = b""
        typed = False
        while True:
            if select.select([master], [], [], 2.0)[0]:
                data = _read(master)
                if not data:
                    break
                screen += data
            elif typed:
                typed = False  # a signal that comes while Python is busy may be lost: a person would type once more
            if keys and not typed and b"[y/N]" in screen:  # before the question nobody listens
                os.write(master, keys)
                typed = True
        os.close(master)
        return process.wait(timeout=60), screen.decode()

    return run


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the last writer has gone
        return b""


def test_a_wide_terminal_gets_a_frame_and_a_narrow_one_whole_ids(terminal: Terminal) -> None:
    terminal("apply", "--no-wait")
    assert "│ default/acme │" in terminal("instance", "list")[1]
    narrow = terminal("instance", "list", columns=60)[1]
    assert "│" not in narrow
    assert "NAME   VPC           ADDRESS" in narrow
    assert len(narrow.splitlines()) == 3


def test_no_color_is_heeded(terminal: Terminal) -> None:
    assert "\x1b[" in terminal("plan")[1]
    assert "\x1b[" not in terminal("plan", NO_COLOR="1")[1]


def test_a_deletion_is_asked_for_and_a_no_changes_nothing(terminal: Terminal) -> None:
    terminal("apply", "--no-wait")
    code, screen = terminal("apply", "--no-wait", "-f", "less.yaml", keys=b"n\n")
    assert (code, "1 resource will be deleted" in screen, "aborted; nothing was changed" in screen) == (1, True, True)
    assert "web-2" in terminal("instance", "list")[1]


def test_ctrl_c_at_a_question_leaves_with_130(terminal: Terminal) -> None:
    terminal("apply", "--no-wait")
    code, screen = terminal("apply", "--no-wait", "-f", "less.yaml", keys=b"\x03")
    assert (code, "Traceback" in screen) == (130, False)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["--lab", "q", "vpc", "list", "-o", "json"], ["vpc", "list", "-o", "json"]),
        (["--owner", "acme", "--lab=q", "vpc", "list"], ["--owner", "acme", "vpc", "list"]),
        (
            ["--lab", "q", "instance", "exec", "web", "--", "run", "--lab", "x"],
            ["instance", "exec", "web", "--", "run", "--lab", "x"],
        ),
        (["--lab", "q", "--store", "/s.db", "status"], ["--store", "/s.db", "status"]),
    ],
)
def test_a_lab_gets_the_command_as_it_was_written(
    arguments: Sequence[str], sent: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str | None, list[str]]] = []

    def exec_in(name: str, node: str | None, argv: list[str]) -> int:
        seen.append((name, node, argv))
        return 7

    monkeypatch.setattr("netorch.lab.session.exec_in", exec_in)
    monkeypatch.setenv("NETORCH_STORE", "/not/in/the/lab")
    assert CliRunner().invoke(cli, list(arguments)).exit_code == 7
    assert seen == [("q", None, ["netorch", *sent])]
