"""The command line on a terminal: frames, colours, questions, Ctrl-C; and its output when passed on to a lab."""

from __future__ import annotations

import fcntl
import json
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
from netorch.cli.output import Columns, show_record, show_rows

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
    """Run the command line on a terminal, type `keys` at the question, and return the exit code and the screen."""
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    (tmp_path / "less.yaml").write_text(CLOUD.replace(", {name: web-2, host: hv1}", ""))

    def run(*arguments: str, columns: int = 120, keys: bytes = b"", module: bool = True, **env: str) -> tuple[int, str]:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", sys.executable, *(["-m", "netorch"] if module else []), *arguments],
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
                typed = False  # a signal may be lost while Python is busy: a user would type it again
            if keys and not typed and b"[y/N]" in screen:  # nothing reads keys before the question
                os.write(master, keys)
                typed = True
        os.close(master)
        return process.wait(timeout=60), screen.decode()

    return run


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: the last writer has closed the terminal
        return b""


def test_a_wide_terminal_gets_a_frame_and_a_narrow_one_columns(terminal: Terminal) -> None:
    terminal("apply", "--no-wait")
    assert "│ default/acme │" in terminal("instance", "list")[1]
    narrow = terminal("instance", "list", columns=60)[1]
    assert "│" not in narrow
    assert "NAME   VPC           ADDRESS" in narrow
    assert len(narrow.splitlines()) == 3


ODD = """
hosts: [{name: hv1, underlay: 192.0.2.11, tags: {"[red]rack[/red]": ":100:"}}]
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ["fd00:100::/56"]
  security_groups:
  - {name: web, description: "[bold]web[/] :ab:"}
  - {name: of-everybody-who-may-open-connections-to-the-database, ingress: [{protocol: tcp, ports: 443, source: sg-web}]}
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: "fd00:100::/64"}]
  instances:
  - {name: web-1, host: hv1, ipv6_address: "fd00:100:0:0:100:ab:100:1", mac: "02:ab:ab:ab:cd:cd", tags: {"[b]": ":100: 日本語"}}
"""
NOUNS = ("vpc", "subnet", "route-table", "sg", "nacl", "prefix-list", "eni", "instance", "host", "map", "flow-log")


@pytest.fixture
def odd(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A cloud with values that look like emoji codes and markup, and with double-width letters."""
    (tmp_path / "vpc.yaml").write_text(ODD)
    terminal("apply", "--no-wait")
    return terminal


def test_values_are_shown_letter_by_letter_however_wide_the_terminal_is(odd: Terminal) -> None:
    for columns in (300, 170):
        shown = odd("map", "list", "-o", "wide", columns=columns)[1]
        assert "fd00:100::100:ab:100:1" in shown
        assert "02:ab:ab:ab:cd:cd" in shown
    assert "fd00:100::100:ab:100:1" in odd("instance", "list", columns=80)[1]
    wide = odd("instance", "list", "-o", "wide", columns=300)[1]
    assert "[b]=:100: 日本語" in wide
    assert len({_cells(line) for line in wide.splitlines()}) == 1
    assert "[red]rack[/red]=:100:" in odd("host", "list", "-o", "wide", columns=200)[1]


def _cells(text: str) -> int:
    plain = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    return sum(2 if letter in "日本語" else 1 for letter in plain)


def test_what_a_record_holds_never_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "red\x1b[31m \x9b2J \u202eback \x7f\r"
    for output in ("table", "wide", "csv", "name", "json", "yaml"):
        show_rows([{"name": evil, "tags": {evil: evil}, "entries": [evil]}], Columns(("name",), ("tags", "entries")), output)
        show_record({"name": evil}, output if output in ("json", "yaml") else "table")
        shown = capsys.readouterr().out
        assert "red" in shown
        assert shown.replace("\n", "").isprintable()
        if output == "json":
            assert json.loads(shown.partition("]\n{")[0] + "]")[0]["name"] == evil


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_a_list_never_wraps(odd: Terminal, columns: int) -> None:
    for words in (*((noun, "list", "-o", "wide") for noun in NOUNS), ("status",), ("sg", "rule", "list", "web")):
        lines = odd(*words, columns=columns, NO_COLOR="1")[1].splitlines()
        table = [line for line in lines if not line.startswith(("store:", "problem:", "dropped packets"))]
        assert max(map(_cells, table)) <= columns, words


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
        (["--lab", "q", "apply", "-f", "-", "--yes"], ["apply", "-f", "-", "--yes"]),
    ],
)
def test_a_lab_gets_the_command_as_it_was_written(
    arguments: Sequence[str], sent: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str | None, list[str], bool]] = []

    def exec_in(name: str, node: str | None, argv: list[str], *, reads_input: bool) -> int:
        seen.append((name, node, argv, reads_input))
        return 7

    monkeypatch.setattr("netorch.lab.session.exec_in", exec_in)
    monkeypatch.setenv("NETORCH_STORE", "/not/in/the/lab")
    assert CliRunner().invoke(cli, list(arguments)).exit_code == 7
    assert seen == [("q", None, ["netorch", *sent], "-f" in sent)]


# --- where output goes


def said(command: str, tmp_path: Path) -> tuple[int, str]:
    """Return the exit code and the stderr of a shell line, in which `netorch` is the command line."""
    line = f'netorch() {{ {sys.executable} -m netorch "$@"; }}; {command}'
    environment = {"NETORCH_STORE": str(tmp_path / "db"), "PATH": "/usr/bin:/bin"}
    shell = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(shell, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "command", ["netorch instance list", "netorch apply --yes --no-wait", "netorch schema", "netorch --help"]
)
@pytest.mark.parametrize("where", ["> /dev/full", ">&-"])
def test_output_that_cannot_be_written_is_one_line(terminal: Terminal, tmp_path: Path, command: str, where: str) -> None:
    terminal("vpc", "create", "before", "--cidr", "10.0.0.0/16")
    code, errors = said(f"{command} {where}", tmp_path)
    assert (code, errors.count("\n")) == (1, 1), errors
    assert errors.startswith("error: standard output: ")


def test_a_reader_that_has_seen_enough_changes_neither_what_is_done_nor_the_exit_code(terminal: Terminal, tmp_path: Path) -> None:
    assert said("netorch apply --yes --no-wait | true", tmp_path) == (0, "")
    assert "web-2" in terminal("instance", "list")[1]
    assert said("netorch instance list | head -n 1 >/dev/null", tmp_path) == (0, "")
    assert said("netorch schema | head -c 1 >/dev/null", tmp_path) == (0, "")
    assert said("netorch plan -f less.yaml | true", tmp_path) == (2, "")


@pytest.mark.parametrize(
    "command",
    [
        "netorch vpc show $'\\xff'",
        "netorch vpc create x --cidr 10.0.0.0/16 --tag $'a=\\xff'",
        "netorch plan -f $'\\xff.yaml'",
        "netorch --store $'\\xff' vpc list",
        "NETORCH_OWNER=$'\\xff' netorch vpc list",
        "mkdir $'\\xff'; cd $'\\xff'; cp ../vpc.yaml .; netorch apply --yes --no-wait",
    ],
)
@pytest.mark.usefixtures("terminal")
def test_a_word_that_is_not_utf8_is_refused_in_words(tmp_path: Path, command: str) -> None:
    code, errors = said(command, tmp_path)
    assert code in (1, 64)
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].lower().startswith("error: ")
