"""Every action has a dry run: it reports whether the action would succeed, and writes nothing."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path

import pytest

from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.cli.whole_tree.tree import ACTIONS, OTHERS, READERS, leaves


def contents(path: Path) -> tuple[int, dict[str, bytes]]:
    with closing(SqliteStore(path / "db")) as store:
        listing = store.list("")
        return listing.revision, {kv.key: kv.value for kv in listing.kvs}


def test_every_command_is_looked_at() -> None:
    found = dict(leaves())
    assert found.keys() == ACTIONS.keys() | READERS.keys() | OTHERS
    tried = {words for words, command in found.items() if any(p.name == "dry_run" for p in command.params)}
    assert tried == ACTIONS.keys()


@pytest.mark.parametrize("words", ACTIONS)
def test_a_dry_run_succeeds_as_the_action_would_and_writes_nothing(busy: Run, tmp_path: Path, words: str) -> None:
    before = contents(tmp_path)
    arguments = [*words.split(), *shlex.split(ACTIONS[words])]
    said = busy(*arguments, "--dry-run").stdout
    assert said == "DryRunOperation: the request would have succeeded; nothing was changed\n"
    assert contents(tmp_path) == before
    busy(*arguments)
    assert contents(tmp_path)[1] != before[1]


@pytest.mark.parametrize("words", READERS)
def test_what_cannot_be_tried_only_reads(busy: Run, tmp_path: Path, words: str) -> None:
    before = contents(tmp_path)
    # These commands find a difference or a problem.
    code = 2 if words in ("plan", "diff", "status", "store check", "vpn status", "vpn doctor", "export") else 0
    busy(*words.split(), *shlex.split(READERS[words]), code=code)
    assert contents(tmp_path) == before


def test_a_dry_run_that_would_fail_says_why(busy: Run, tmp_path: Path) -> None:
    before = contents(tmp_path)
    for arguments, code in (
        ("subnet delete acme/acme/app", "DependencyViolation"),
        ("vpc create acme --cidr 10.0.0.0/8", "InvalidVpc.Range"),
        ("--owner acme host create hv9 --underlay 192.0.2.99", "UnauthorizedOperation"),
        ("--owner globex instance terminate acme/acme/web-1", "InvalidInstanceID.NotFound"),
        ("instance run web-1 --subnet acme/acme/app", "InvalidParameterValue"),
        ("instance move acme/acme/web-1 nowhere", "InvalidHostID.NotFound"),
    ):
        assert code in busy(*shlex.split(arguments), "--dry-run", code=1).stderr
    assert contents(tmp_path) == before


def test_a_dry_run_of_several_steps_tries_each_on_top_of_those_before(busy: Run) -> None:
    done = busy("eni", "detach", "acme/acme/second", "acme/acme/second", "--dry-run")
    assert "DryRunOperation" in done.stdout  # named twice, it counts once
    said = busy("instance", "move", "acme/acme/web-1", "acme/acme/web-2", "hv1", "--dry-run", code=1).stderr
    assert "hv1" in said  # the first is already on hv1


def test_a_dry_run_waits_for_nobody_and_speaks_json(busy: Run) -> None:
    said = json.loads(busy("instance", "run", "new", "--subnet", "acme/acme/app", "--dry-run", "-o", "json").stdout)
    assert said["code"] == "DryRunOperation"
    assert "DryRunOperation" in busy("instance", "move", "acme/acme/web-1", "hv2", "--dry-run").stdout


def test_a_dry_run_makes_no_store(quick: Run, tmp_path: Path) -> None:
    quick("vpc", "create", "new", "--cidr", "10.0.0.0/16", "--dry-run")
    assert list(tmp_path.iterdir()) == [tmp_path / "vpc.yaml"]
