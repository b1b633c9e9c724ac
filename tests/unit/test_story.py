"""The demo's engine: stories of ordinary commands, without a lab."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from scripts import story

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tell(capfd: pytest.CaptureFixture[str], *acts: dict[str, object], **fields: object) -> tuple[story.Teller, str]:
    """Run a story of one step; return the teller and the printed text."""
    told = msgspec.convert({"title": "t", "steps": [{"title": "s", "acts": list(acts)}], **fields}, story.Story)
    teller = story.Teller()
    teller.tell(told)
    return teller, capfd.readouterr().out


def test_a_command_is_shown_as_typed_with_what_it_said_and_what_that_proves(capfd: pytest.CaptureFixture[str]) -> None:
    teller, out = tell(capfd, {"run": "echo 'a  b'", "says": ["^a  b$"], "expect": "echoes are heard"})
    assert out.splitlines()[2:] == ["$ echo 'a  b'", "a  b", "  as expected: echoes are heard"]
    assert (teller.held, teller.failures) == (1, [])


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        ({"run": "false"}, "exit status 1 instead of 0"),
        ({"run": "true", "exits": [2, 3]}, "exit status 0 instead of 2 or 3"),
        ({"run": "echo one", "says": ["one", "two"]}, "does not match 'two'"),
        ({"run": "echo {lost}"}, "lost was not found"),
        ({"run": "false", "quiet": True, "within_s": 0.1}, "exit status 1"),
        ({"run": "true", "meanwhile": [{"run": "false"}]}, "exit status 1"),
    ],
)
def test_what_does_not_hold_is_said_and_counted(capfd: pytest.CaptureFixture[str], act: dict[str, object], problem: str) -> None:
    teller, out = tell(capfd, act, {"run": "echo the rest", "expect": "the story goes on"})
    assert teller.held == 1
    assert problem in teller.failures[0]
    assert "NOT AS EXPECTED" in out


def test_what_takes_place_meanwhile_waits_for_the_line_that_begins_it(capfd: pytest.CaptureFixture[str]) -> None:
    meanwhile = {"run": "touch gone-on", "expect": "it had begun"}
    waits = "echo starts; sleep 0.2; echo begun; until [ -e gone-on ]; do sleep 0.01; done; echo ends"
    teller, out = tell(capfd, {"run": f"sh -c '{waits}'", "begun": "^begun", "says": ["^ends$"], "meanwhile": [meanwhile]})
    assert (teller.held, teller.failures) == (1, [])
    assert out.splitlines()[3:] == ["starts", "begun", "$ touch gone-on", "  as expected: it had begun", "ends"]


def test_a_story_ends_where_what_it_needs_does_not_hold(capfd: pytest.CaptureFixture[str]) -> None:
    later = {"title": "later", "acts": [{"run": "echo never"}]}
    first = {"title": "first", "acts": [{"run": "false", "needed": True}]}
    teller, out = tell(capfd, steps=[first, later])
    assert len(teller.failures) == 1
    assert "never" not in out


def test_a_value_that_one_command_tells_is_used_by_the_next_and_matched_as_it_stands(capfd: pytest.CaptureFixture[str]) -> None:
    teller, out = tell(
        capfd,
        {"run": "echo vni=4.97", "quiet": True, "says": ["vni=(?P<vni>.*)"]},
        {"run": "echo table {vni} and {2}", "says": ["table {vni}"], "expect": "found"},
        {"run": "echo table 4x97", "says": ["table {vni}"]},
    )
    assert "vni=" not in out
    assert "$ echo table 4.97 and {2}" in out
    assert (teller.held, len(teller.failures)) == (1, 1)


def test_only_the_lines_that_matter_are_shown_and_all_are_matched(capfd: pytest.CaptureFixture[str]) -> None:
    teller, out = tell(capfd, {"run": "printf 'plan\\nnoise\\ndone\\n'", "shows": "^plan|^done", "says": ["noise"]})
    assert out.splitlines()[3:] == ["plan", "done"]
    assert teller.failures == []


def test_a_command_is_tried_again_until_it_holds(capfd: pytest.CaptureFixture[str]) -> None:
    count = "sh -c 'echo x >> log; grep -c x log'"
    teller, out = tell(capfd, {"run": count, "says": ["^3$"], "within_s": 30, "expect": "it is counted"})
    assert teller.held == 1
    assert out.splitlines()[3:] == ["3", "  as expected: it is counted"]


def test_acts_take_place_while_a_command_runs(capfd: pytest.CaptureFixture[str]) -> None:
    wait = "sh -c 'until [ -e done ]; do sleep 0.05; done; echo seen'"
    teller, out = tell(capfd, {"run": wait, "says": ["seen"], "meanwhile": [{"run": "touch done"}]})
    assert teller.failures == []
    assert out.splitlines()[2:] == [f"$ {wait} &", "$ touch done", "seen"]


def test_a_story_cleans_up_before_and_after_itself_also_when_it_breaks_off(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError):
        tell(capfd, {"run": "no-such-command"}, clean_up=["sh -c 'echo x >> cleaned'"])
    assert Path("cleaned").read_text() == "x\nx\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "story.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


@pytest.mark.parametrize(
    ("command", "status", "summary"),
    [("true", 0, "1 expectations met, 0 not met"), ("false", 1, "0 expectations met, 1 not met")],
)
def test_the_exit_status_tells_whether_all_held(tmp_path: Path, command: str, status: int, summary: str) -> None:
    told = {"title": "t", "steps": [{"title": "s", "acts": [{"run": command, "expect": "it works"}]}]}
    (tmp_path / "story.yaml").write_bytes(msgspec.yaml.encode(told))
    done = run("story.yaml")
    assert done.returncode == status
    assert summary in done.stdout
    assert "\033" not in done.stdout


def test_stories_are_listed_and_an_unknown_one_is_refused() -> None:
    listed = [line.split()[0] for line in run("--list").stdout.splitlines()]
    assert listed == ["cluster", "datacenter", "internet", "policy", "quickstart", "routes", "services"]
    assert run("lost").returncode == 2
    assert "there is no story lost; scripts/demo --list lists them" in run("lost").stderr


@pytest.mark.parametrize("path", sorted(story.STORIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_story_needs_its_lab_and_uses_values_that_it_has_found(path: Path) -> None:
    told = story.read(path)
    assert told.steps[0].acts[0].needed
    assert told.clean_up
    acts = [act for step in told.steps for outer in step.acts for act in (outer, *outer.meanwhile)]
    found: set[str] = set()
    for act in acts:
        story.fill(act.run, dict.fromkeys(found, "1"))
        found |= {name for pattern in act.says for name in re.compile(pattern).groupindex}
