"""The settings of a machine: precedence of file, variable and option, and errors in a file with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.cli.settings import parse
from netorch.errors import SpecError
from tests.unit.cli.conftest import Run

FILE = """\
# hv1
store = "/srv/file.db"
host = "hv1"
flow_log_dir = "/srv/flows"
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('\nstor = "/x"\n', "a.toml:2: stor: unknown setting; did you mean store?"),
        ('state-dir = "/x"\n', "a.toml:1: state-dir: unknown setting; did you mean state_dir?"),
        ('colour = "red"\n', "a.toml:1: colour: unknown setting; remove it; the settings are store, host, state_dir,"),
        ("host = 7\n", 'a.toml:1: host: found a number where text is needed; write host = "..."'),
        ("host = true\n", 'a.toml:1: host: found a truth value where text is needed; write host = "..."'),
        ('host = [\n"a",\n]\n', "a.toml:3: host: found a list where text is needed"),
        ("[host]\nname = 'a'\n", "a.toml:1: host: found a table or a date where text is needed"),
        ('host = ""\n', "a.toml:1: host: the text is empty; write a value, or remove the line"),
        ("# store\nhost = hv1\n", "a.toml:2: settings: this is not TOML: Invalid value"),
        ('host = "a"\nhost = "b"\n', "a.toml:2: host: is set twice: in line 1 and in line 2; remove one of the lines"),
        ('host = "a"\n host="b"\nstore = [', "a.toml:2: host: is set twice: in line 1 and in line 2"),
        ('host.a = "a"\nhost = "b"\n', "a.toml:2: settings: this is not TOML: Cannot overwrite a value"),
        ('host = "a', 'a.toml:1: settings: this is not TOML: Unterminated string; write NAME = "VALUE"'),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse("a.toml", text)
    assert str(raised.value).startswith(problem)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SpecError) as raised:
        parse("a.toml", 'hots = "a"\nstore = 1\n')
    assert [problem.line for problem in raised.value.problems] == [1, 2]


def test_a_variable_stands_over_the_file_and_an_option_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netorch.toml"
    file.write_text(FILE)
    monkeypatch.setenv("NETORCH_CONFIG", str(file))
    monkeypatch.setenv("NETORCH_HOST", "hv2")
    monkeypatch.delenv("NETORCH_STORE", raising=False)

    def shown(*options: str) -> dict[str, tuple[str, str]]:
        done = CliRunner().invoke(cli, [*options, "config", "show", "-o", "json"])
        assert done.exit_code == 0, done.output
        return {row["setting"]: (row["value"], row["from"]) for row in json.loads(done.stdout)}

    assert shown()["host"] == ("hv2", "the variable NETORCH_HOST")
    assert shown()["store"] == ("/srv/file.db", f"{file}:2")
    assert shown()["flow_log_dir"] == ("/srv/flows", f"{file}:4")
    assert shown()["state_dir"] == ("/var/lib/netorch", "the default")
    assert shown("--store", "/srv/option.db")["store"] == ("/srv/option.db", "the option --store")


def test_commands_act_on_what_the_file_says(quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETORCH_STORE")
    file = tmp_path / "netorch.toml"
    file.write_text(f'store = "{tmp_path}/of-the-file.db"\n')
    monkeypatch.setenv("NETORCH_CONFIG", str(file))
    quick("host", "create", "hv1", "--underlay", "192.0.2.11")
    assert (tmp_path / "of-the-file.db").exists()
    file.with_name("wrong.toml").write_text("store = 1\n")
    monkeypatch.setenv("NETORCH_CONFIG", str(file.with_name("wrong.toml")))
    assert "wrong.toml:1: store: found a number" in quick("host", "list", code=65).stderr
    monkeypatch.setenv("NETORCH_CONFIG", str(tmp_path / "missing.toml"))
    assert "the file is missing" in quick("host", "list", code=65).stderr
