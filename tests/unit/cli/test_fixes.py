"""Every command that `trace` prints runs as printed, in a cloud where two owners use the same names."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from netorch.cli import called
from netorch.cli.main import cli
from netorch.errors import NetorchError
from tests.unit.cli.conftest import Run

VPC = """
name: web
owner: acme
cidrs: [10.44.0.0/16]
ipv6_cidrs: ["fd00:44::/56"]
security_groups:
- {name: front}
- {name: quiet, egress: []}
- {name: db, ingress: [{protocol: tcp, ports: 5432, source: sg-front}]}
- {name: alone}
network_acls:
- name: full
  ingress: ENTRIES
  egress: [{rule: 32766, action: allow, protocol: tcp, ports: 5432, cidr: 0.0.0.0/0}]
- name: plain
subnets:
- {name: app, cidr: 10.44.12.0/24, ipv6_cidr: "fd00:44:0:1::/64"}
- {name: db, cidr: 10.44.13.0/24, ipv6_cidr: "fd00:44:0:2::/64", network_acl: full}
- {name: plain, cidr: 10.44.14.0/24, ipv6_cidr: "fd00:44:0:3::/64", network_acl: plain}
instances:
- {name: front-1, subnet: app, host: hv1, address: 10.44.12.4, security_groups: [front]}
- {name: quiet-1, subnet: app, host: hv1, address: 10.44.12.5, security_groups: [quiet]}
- {name: common-1, subnet: app, host: hv1, address: 10.44.12.6}
- {name: db-1, subnet: app, host: hv2, address: 10.44.12.7, ipv6_address: "fd00:44:0:1::7", security_groups: [alone, db]}
- {name: guarded-1, subnet: db, host: hv2, address: 10.44.13.4, security_groups: [db]}
- {name: plain-1, subnet: plain, host: hv2, address: 10.44.14.4, ipv6_address: "fd00:44:0:3::4", security_groups: [db]}
"""
DENIED = [{"rule": 1, "action": "deny", "protocol": "tcp", "cidr": "0.0.0.0/0"}]
MORE = [
    *DENIED,
    {"rule": 2, "action": "deny", "protocol": "udp", "ports": "0-1023", "cidr": "0.0.0.0/0"},
    {"rule": 3, "action": "deny", "protocol": "icmp", "ports": "8/0", "cidr": "10.44.12.4/32"},
    {"rule": 32766, "action": "allow", "protocol": "all", "cidr": "0.0.0.0/0"},
]

Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def cloud(run: Run, tmp_path: Path) -> None:
    """Two owners with the same names for everything."""
    vpc = yaml.safe_load(VPC.replace("ENTRIES", json.dumps(MORE)))
    hosts = [{"name": f"hv{n}", "underlay": f"192.0.2.1{n}"} for n in (1, 2)]
    (tmp_path / "vpc.yaml").write_text(yaml.safe_dump({"hosts": hosts, "vpcs": [vpc, {**vpc, "owner": "globex"}]}))
    run("apply", "--yes", "--no-wait")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run a line as a user types it, in this process, without a default store."""
    monkeypatch.chdir(tmp_path)
    for name in ("NETORCH_STORE", "NETORCH_OWNER", "NETORCH_LAB"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str) -> subprocess.CompletedProcess[str]:
        said = ""
        for command in line.split(" && "):
            first, *words = shlex.split(command)
            assert first == "netorch", line
            done = CliRunner().invoke(cli, words)
            error, code = done.exception, done.exit_code
            said += done.output
            if isinstance(error, NetorchError):
                code, said = error.exit_code, said + called.as_called(str(error))
            if code:
                break
        return subprocess.CompletedProcess(line, code, said, "")

    return run


WAYS = [
    ("front-1", "db-1", "tcp/22"),  # a group that no rule references yet
    ("front-1", "db-1", "icmp"),
    ("quiet-1", "db-1", "tcp/5432"),  # both groups reject it
    ("common-1", "db-1", "47"),  # in the default group only: the fix names its address
    ("front-1", "guarded-1", "tcp/5432"),  # no number is free before the denying entry, and the last number is in use
    ("front-1", "guarded-1", "udp/53"),
    ("front-1", "guarded-1", "icmp"),
    ("front-1", "plain-1", "tcp/5432"),  # an ACL without entries
    ("db-1", "fd00:44:0:3::4", "tcp/5432"),
]


@pytest.mark.slow
@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(("source", "destination", "service"), WAYS)
@pytest.mark.parametrize("caller", [[], ["--owner", "globex"]], ids=["operator", "owner"])
def test_the_fixes_that_are_printed_make_the_packet_arrive(
    shell: Shell, tmp_path: Path, source: str, destination: str, service: str, caller: Sequence[str]
) -> None:
    called = shlex.join(["netorch", "--store", str(tmp_path / "db"), *caller])
    ends = [end if ":" in end else f"globex/web/{end}" for end in (source, destination)]
    asked = f"{called} trace {ends[0]} {ends[1]} {service}"
    for _ in range(6):
        told = shell(asked)
        if told.returncode == 0:
            return
        assert told.returncode == 2, told
        (fix,) = (line.removeprefix("fix: ") for line in told.stdout.splitlines() if line.startswith("fix: "))
        assert fix.startswith(called), fix
        done = shell(fix)
        assert done.returncode == 0, (fix, done)
    pytest.fail(f"{asked}: still not reachable: {told.stdout}")


@pytest.mark.usefixtures("cloud")
def test_a_rule_that_is_wanting_names_the_group_of_the_peer_as_the_rules_around_it_do(run: Run) -> None:
    def fix(*words: str) -> str:
        found: str = json.loads(run("trace", *words, "-o", "json", code=2).stdout)["fix"]
        return found

    # `alone` is evaluated first, but `db` has a rule for sg-front
    of_front = fix("acme/web/front-1", "acme/web/db-1", "tcp/22")
    assert of_front == "netorch sg rule add acme/web/db ingress tcp 22 --source sg-front"
    of_default = fix("acme/web/common-1", "acme/web/db-1", "tcp/22")
    assert of_default.endswith(" ingress tcp 22 --source 10.44.12.6/32")
    assert " acme/web/quiet egress tcp 22 --destination sg-" in fix("acme/web/quiet-1", "acme/web/db-1", "tcp/22")


@pytest.mark.slow
@pytest.mark.usefixtures("cloud")
def test_moving_entries_out_of_the_way_changes_nothing_for_others(run: Run) -> None:
    fix = json.loads(run("trace", "acme/web/front-1", "acme/web/guarded-1", "tcp/5432", "-o", "json", code=2).stdout)["fix"]
    steps = [shlex.split(step)[1:] for step in fix.split(" && ")]
    assert len(steps) == 4
    before = run("reach", "--matrix", "-o", "json").stdout
    for step in steps[:-1]:
        run(*step)
        assert run("reach", "--matrix", "-o", "json").stdout == before
    run(*steps[-1])
    listed = json.loads(run("nacl", "rule", "list", "acme/web/full", "-o", "json").stdout)
    assert [(e["number"], e["protocol"], e["ports"]) for e in listed if e["direction"] == "ingress"] == [
        (1, "tcp", "5432"),
        (2, "tcp", ""),
        (3, "udp", "0-1023"),
        (4, "icmp", "8/0"),
        (32766, "all", ""),
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize(
    "words",
    [
        "trace globex/web/front-1 10.44.12.99",
        "trace globex/web/front-1 198.51.100.1",
        "trace globex/web/front-1 globex/web/nobody",
        "trace globex/web/front-1 127.0.0.1",
        "vpc show nothing",
        "nacl rule remove globex/web/full ingress 77",
        "sg rule remove globex/web/db sgr-00000000000000000",
        "sg rule remove globex/web/db ingress tcp 1 --source 10.0.0.0/8",
        "map lookup globex/web 10.44.12.99",
        "store get vpc/nothing",
        "vpc create default --cidr 10.0.0.0/16",
    ],
)
@pytest.mark.parametrize("caller", [[], ["--owner", "globex"]], ids=["operator", "owner"])
def test_a_command_in_advice_runs_as_it_is_printed(shell: Shell, tmp_path: Path, words: str, caller: Sequence[str]) -> None:
    if caller and words.startswith("store"):
        pytest.skip("the operator's")
    told = shell(shlex.join(["netorch", "--store", str(tmp_path / "db"), *caller, *words.split()]))
    assert told.returncode in (1, 2), told
    said = told.stdout + told.stderr
    for command in commands_in(said):
        done = shell(command)
        assert done.returncode in (0, 2), (command, done)


def commands_in(text: str) -> list[str]:
    """Return the commands in a text: in backticks, or at the end of a line."""
    found = []
    for line in text.splitlines():
        quoted = [part for part in line.split("`")[1::2] if part.startswith("netorch ")]
        tail = line[line.rindex(": netorch ") + 2 :] if ": netorch " in line else ""
        found += quoted or ([tail] if tail else [])
    assert found, text
    return found


def test_a_command_is_spelled_with_the_options_that_this_one_was_called_with(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "look: netorch map list; `netorch drift --host hv1` or netorch lab down q; "
        "netorch lab exec q -- netorch drift; a netorch store; netorch address pool list, netorch address list"
    )
    called.remember(store=None, owner=None)
    assert called.as_called(text) == text
    monkeypatch.setenv(called.LAB, "q")
    called.remember(store="/a b", owner="acme")
    place = "netorch --lab q --store '/a b'"
    assert called.as_called(text) == (
        f"look: {place} --owner acme map list; `{place} drift --host hv1` or netorch lab down q; "
        f"netorch lab exec q -- netorch drift; a {place} store; "
        f"{place} address pool list, {place} --owner acme address list"
    )
    called.remember(store=None, owner=None)
