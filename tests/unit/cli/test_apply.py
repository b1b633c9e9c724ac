"""`plan` and `apply`: saved plans, standard input, output for programs, questions with piped output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from netorch.cli.commands import apply
from netorch.model.eni import EniState, EniStatus
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import CLOUD, Run
from tests.unit.cli.test_terminal import Terminal, terminal

__all__ = ["terminal"]
LESS = CLOUD.replace("  - {name: web-2, host: hv2}\n", "")


def test_a_saved_plan_is_applied_as_it_was_read_or_not_at_all(run: Run, tmp_path: Path) -> None:
    run("vpc", "create", "before", "--cidr", "10.0.0.0/16")
    read = run("plan", "--out", "first", code=2).stdout
    assert (tmp_path / "first").stat().st_mode & 0o777 == 0o600
    (tmp_path / "vpc.yaml").write_text("vpcs: []")  # the plan was made from the file's former content
    assert run("apply", "first", "--no-wait").stdout.startswith(read.rstrip())
    assert "web-2" in run("instance", "list").stdout
    assert "the cloud has changed since" in run("apply", "first", "--no-wait", code=1).stderr

    (tmp_path / "vpc.yaml").write_text(LESS)
    run("plan", "--out", "less", code=2)
    run("sg", "create", "new", "--vpc", "acme")
    said = json.loads(run("apply", "less", "--no-wait", "-o", "json", code=1).stderr)["error"]
    assert (said["code"], "netorch plan -f VPC_YAML --out FILE" in said["message"]) == ("IncorrectState", True)
    assert "web-2" in run("instance", "list").stdout
    run("plan", "--out", "less", code=2)
    run("map", "list")  # commands that only read keep a plan valid
    run("vpc", "create", "elsewhere", "--cidr", "10.0.0.0/16")  # so do changes that the plan does not depend on
    run("apply", "less", "--no-wait")
    assert "web-2" not in run("instance", "list").stdout


def test_a_saved_plan_is_its_makers_and_its_stores(run: Run, tmp_path: Path) -> None:
    for store in ("db", "other.db"):
        run("--store", str(tmp_path / store), "vpc", "create", "before", "--cidr", "10.0.0.0/16")
    run("plan", "--out", "mine", code=2)
    assert "UnauthorizedOperation" in run("--owner", "acme", "apply", "mine", code=1).stderr
    assert "another store" in run("--store", str(tmp_path / "other.db"), "apply", "mine", code=1).stderr
    assert "is not a saved plan" in run("apply", "vpc.yaml", code=1).stderr
    assert "cannot be read" in run("apply", "nowhere", code=65).stderr
    assert "leave --file out" in run("apply", "mine", "-f", "vpc.yaml", code=64).stderr
    assert run("vpc", "list", "-o", "name").stdout == "default/before\n"


def test_apply_tells_programs_what_it_has_done(run: Run) -> None:
    done = json.loads(run("apply", "--yes", "-o", "json").stdout)
    assert (done["counts"]["add"], done["running"], done["silent_hosts"]) == (9, 0, ["hv1", "hv2"])
    assert done["transactions"] > 0
    again = json.loads(run("apply", "--yes", "-o", "json").stdout)
    assert (again["changes"], again["transactions"]) == ([], 0)


@pytest.mark.parametrize(("late_s", "timeout", "running"), [(19.0, "60", 2), (21.0, "60", 0), (2.0, "5", 2), (6.0, "5", 0)])
def test_apply_waits_for_an_agent_that_renews_its_lease_late_and_gives_up_one_that_does_not(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_s: float, timeout: str, running: int
) -> None:
    with closing(_cloud_without_agents(quick, tmp_path)) as store:
        monkeypatch.setattr(apply, "time", clock := _Clock({late_s: lambda: _come(store, "hv1")}))
        (tmp_path / "vpc.yaml").write_text(
            CLOUD.replace("web-1, host: hv1", "web-1, host: hv1, tags: {a: b}").replace(_HV2, f"{_HV2}{_MORE}")
        )
        done = quick("apply", "--yes", "--timeout", timeout)
    assert f"{running} instances are running." in done.stdout
    assert f"No agent is running on {'hv2' if running else 'hv1 hv2'};" in done.stderr
    assert clock.monotonic() <= min(float(timeout), apply.LATE_S) + 1.0


def test_apply_does_not_wait_for_hosts_that_it_does_not_change(
    quick: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(_cloud_without_agents(quick, tmp_path)) as store:
        _come(store, "hv1")
        monkeypatch.setattr(apply, "time", clock := _Clock({}))
        (tmp_path / "vpc.yaml").write_text(CLOUD.replace("address: 10.44.12.4}]", "address: 10.44.12.4, tags: {a: b}}]"))
        done = quick("apply", "--yes")
    assert "1 instance is running." in done.stdout  # that of the changed VPC
    assert "hv2" not in done.stderr
    assert clock.monotonic() == 0.0


_HV2 = "  - {name: web-2, host: hv2}\n"
_MORE = "  - {name: web-3, host: hv2}\n"


class _Clock:
    """A clock in which things happen while somebody sleeps; it takes the place of a module."""

    def __init__(self, happens: dict[float, Callable[[], None]]) -> None:
        self._now = 0.0
        self._happens = happens

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(seconds, 0.5)
        for at in [at for at in self._happens if at <= self._now]:
            self._happens.pop(at)()


def _cloud_without_agents(quick: Run, tmp_path: Path) -> SqliteStore:
    """Return the store of a cloud whose agents have run and do no longer."""
    quick("apply", "--yes", "--no-wait")
    store = SqliteStore(tmp_path / "db")
    said = encode(AgentStatus(version="", pid=1, started_at=0.0))
    store.txn((), [Put(keys.agent_status(host), said) for host in ("hv1", "hv2")])
    return store


def _come(store: SqliteStore, host: str) -> None:
    """Let a host's agent live, and attach what is placed there now."""
    attached = encode(EniStatus(state=EniState.ATTACHED))
    placed = [kv.key.rpartition("/")[2] for kv in store.list(keys.placement(host, "")).kvs]
    store.txn((), [Put(keys.host_live(host), b"{}"), *(Put(keys.eni_status(host, eni), attached) for eni in placed)])


def test_errors_are_json_where_json_is_asked_for(run: Run, tmp_path: Path) -> None:
    run("vpc", "create", "before", "--cidr", "10.0.0.0/16")
    (tmp_path / "bad.yaml").write_text("vpcs: [{name: a, cidrs: [10.0.0.0/8]}]\nhost: []")
    for words, code, kind in (
        (("plan", "-f", "bad.yaml", "-o", "json"), 65, "SpecError"),
        (("vpc", "show", "nobody", "--output=json"), 1, "InvalidVpcID.NotFound"),
        (("instance", "list", "-ojson", "--vpc", "nobody"), 1, "InvalidVpcID.NotFound"),
        (("vpc", "show", "-o", "json"), 64, "UsageError"),
        (("vpc", "list", "-o", "yaml", "--nonsense"), 64, "UsageError"),
    ):
        done = run(*words, code=code)
        told = json.loads(done.stderr)["error"]
        assert (told["code"], told["exit_code"], done.stdout) == (kind, code, "")
    problems = json.loads(run("plan", "-f", "bad.yaml", "-o", "json", code=65).stderr)["error"]["problems"]
    assert [(found["line"], found["path"]) for found in problems] == [(1, "$.vpcs[0].cidrs[0]"), (2, "$.host")]
    assert run("vpc", "show", "nobody", code=1).stderr.startswith("error: InvalidVpcID.NotFound")


def test_a_file_may_come_from_standard_input(run: Run, tmp_path: Path) -> None:
    def piped(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"NETORCH_STORE": str(tmp_path / "db"), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "netorch", *words]
        return subprocess.run(command, input=CLOUD, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert piped("plan", "-f", "-").returncode == 2
    assert "name: acme" in piped("diff", "-f", "-").stdout
    assert piped("apply", "--no-wait", "-f", "-").returncode == 0
    assert "No changes" in piped("plan", "-f", "-").stdout
    assert piped("reach", "--diff", "-f", "-").returncode == 0
    assert "web-2" in run("instance", "list").stdout


def test_apply_asks_at_a_terminal_also_when_its_output_is_piped(terminal: Terminal, tmp_path: Path) -> None:
    def apply(line: str, keys: bytes) -> tuple[int, str]:
        program = f"import subprocess, sys; sys.exit(subprocess.call(['bash', '-o', 'pipefail', '-c', {line!r}]))"
        return terminal("-c", program, module=False, keys=keys)

    terminal("apply", "--no-wait")
    netorch = f"{sys.executable} -m netorch apply --no-wait"
    for line in (
        f"{netorch} -f less.yaml | cat > out",
        f"{netorch} -f - < less.yaml > out",
        f"{netorch} -f less.yaml -o json > out",
    ):
        code, screen = apply(line, b"n\n")
        assert (code, "1 resource will be deleted" in screen) == (1, True), line
        assert "[y/N]" not in (tmp_path / "out").read_text()
    assert "web-2" in terminal("instance", "list")[1]
    assert apply(f"{netorch} -f - -o json < less.yaml > out", b"y\n")[0] == 0
    assert json.loads((tmp_path / "out").read_text())["counts"]["delete"] == 1
    assert "web-2" not in terminal("instance", "list")[1]


def test_a_customer_whose_file_names_no_owner_is_told_what_to_write(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("vpcs: [{name: a, cidrs: [10.0.0.0/16]}]\n")
    refused = run("--owner", "acme", "plan", "-f", "mine.yaml", code=1).stderr
    assert "VPC default/a: is not yours; write `owner: acme` if it should own it, or leave it out" in refused
    (tmp_path / "mine.yaml").write_text("vpcs: [{name: a, owner: acme, cidrs: [10.0.0.0/16]}]\n")
    run("--owner", "acme", "plan", "-f", "mine.yaml", code=2)


@pytest.mark.parametrize("command", [("plan",), ("reach", "--diff")])
def test_all_hosts_that_there_are_not_are_named_with_their_lines(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    run("host", "create", "hv1", "--underlay", "192.0.2.11")
    (tmp_path / "wrong.yaml").write_text(
        "vpcs:\n- name: a\n  cidrs: [10.0.0.0/16]\n  subnets: [{name: s, cidr: 10.0.0.0/24}]\n  instances:\n"
        "  - {name: x, host: hv8}\n  - {name: y, host: hv9}\n"
    )
    refused = run(*command, "-f", "wrong.yaml", code=65).stderr
    assert "wrong.yaml:6: $.vpcs[0].instances[0].host: there is no host 'hv8'; choose one of hv1" in refused
    assert "wrong.yaml:7: $.vpcs[0].instances[1].host: there is no host 'hv9'" in refused
