"""Every action can be tried: it says whether it would succeed, and nothing is written."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.store.base import Put
from netorch.store.sqlite import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.cli.tree import leaves

# Actions, each with arguments that succeed in the cloud below.
ACTIONS = {
    "apply": "-f changed.yaml --yes --no-wait",
    "destroy": "acme/acme --yes",
    "vpc create": "new --cidr 10.9.0.0/16",
    "vpc create-default": "",
    "vpc delete": "globex/bare",
    "vpc associate-cidr": "acme/acme 10.45.0.0/16",
    "vpc disassociate-cidr": "globex/bare 10.1.0.0/16",
    "vpc set-tags": "acme/acme env=prod",
    "subnet create": "new --vpc acme/acme --cidr 10.44.13.0/24",
    "subnet delete": "acme/acme/empty",
    "subnet set-tags": "acme/acme/app env=prod",
    "route-table create": "new --vpc acme/acme",
    "route-table associate": "acme/acme/other app",
    "route-table delete": "acme/acme/other",
    "route-table set-tags": "acme/acme/other env=prod",
    "sg create": "new --vpc acme/acme",
    "sg delete": "acme/acme/web",
    "sg set-tags": "acme/acme/web env=prod",
    "sg rule add": "acme/acme/web ingress tcp 22 --source 10.0.0.0/8",
    "sg rule remove": "acme/acme/web ingress tcp 443 --source 10.0.0.0/8",
    "nacl create": "new --vpc acme/acme",
    "nacl associate": "acme/acme/strict app",
    "nacl delete": "acme/acme/strict",
    "nacl set-tags": "acme/acme/strict env=prod",
    "nacl rule add": "acme/acme/strict ingress 200 deny tcp 22 --cidr 10.0.0.0/8",
    "nacl rule replace": "acme/acme/strict ingress 100 deny tcp 22 --cidr 10.0.0.0/8",
    "nacl rule remove": "acme/acme/strict ingress 100",
    "prefix-list create": "new 10.0.0.0/8 --vpc acme/acme",
    "prefix-list delete": "acme/acme/offices",
    "prefix-list set": "acme/acme/offices 10.0.0.0/9",
    "prefix-list set-tags": "acme/acme/offices env=prod",
    "eni create": "--subnet acme/acme/app --name new",
    "eni delete": "acme/acme/spare",
    "eni attach": "acme/acme/spare acme/acme/web-1",
    "eni detach": "acme/acme/second",
    "eni set-groups": "acme/acme/spare web",
    "eni set-tags": "acme/acme/spare env=prod",
    "instance run": "new --subnet acme/acme/app --count 20 --no-wait",
    "instance create": "new --subnet acme/acme/app --no-wait",
    "instance move": "acme/acme/web-1 hv2 --no-wait",
    "instance set-groups": "acme/acme/web-1 web",
    "instance set-tags": "acme/acme/web-1 env=prod",
    "instance terminate": "acme/acme/web-1 acme/acme/web-2",
    "instance delete": "acme/acme/web-1",
    "host create": "hv3 --underlay 192.0.2.13",
    "host delete": "spare",
    "host set-tags": "hv1 rack=7",
    "quota set": "acme vpcs=7",
    "flow-log create": "new --subnet acme/acme/app",
    "flow-log delete": "acme/acme/all",
    "flow-log set-tags": "acme/acme/all env=prod",
    "store put": "quota/damaged --file quota.json",
    "store delete": "quota/damaged",
}
# Commands that only read the store, each with arguments.
READERS = {
    **{f"{kind} list": "" for kind in ("vpc", "subnet", "route-table", "sg", "nacl", "prefix-list", "eni", "instance")},
    **{f"{kind} list": "" for kind in ("host", "map", "flow-log")},
    "plan": "",
    "diff": "",
    "export": "",
    "status": "",
    "reach": "--matrix",
    "vpc show": "acme/acme",
    "subnet show": "acme/acme/app",
    "route-table show": "acme/acme/main",
    "sg show": "acme/acme/web",
    "sg rule list": "acme/acme/web",
    "nacl show": "acme/acme/strict",
    "nacl rule list": "acme/acme/strict",
    "prefix-list show": "acme/acme/offices",
    "eni show": "acme/acme/spare",
    "instance show": "acme/acme/web-1",
    "host show": "hv1",
    "quota show": "acme",
    "map lookup": "acme/acme 10.44.12.4",
    "flow-log show": "acme/acme/all",
    "flow-log read": "acme/acme/all",
    "store check": "",
    "store get": "quota/damaged",
}
# Commands about kernels, this machine or the command line itself: they call no action of the cloud.
OTHERS = {
    *("map watch", "instance exec", "flows", "drift", "ping", "trace", "check", "doctor", "schema", "completion", "agent run"),
    *(f"lab {verb}" for verb in ("up", "deploy", "down", "destroy", "list", "inspect", "exec", "shell", "restart-agent")),
}

CLOUD = """
hosts:
- {name: hv1, underlay: 192.0.2.11}
- {name: hv2, underlay: 192.0.2.12}
- {name: spare, underlay: 192.0.2.14}
vpcs:
- name: acme
  owner: acme
  cidrs: [10.44.0.0/16]
  route_tables: [{name: other}]
  prefix_lists: [{name: offices, cidrs: [10.0.0.0/8]}]
  security_groups: [{name: web, ingress: [{protocol: tcp, ports: 443, source: 10.0.0.0/8}]}]
  network_acls: [{name: strict, ingress: [{rule: 100, action: allow, protocol: all, cidr: 0.0.0.0/0}]}]
  flow_logs: [{name: all}]
  subnets: [{name: app, cidr: 10.44.12.0/24}, {name: empty, cidr: 10.44.14.0/24}]
  instances: [{name: web-1, subnet: app, host: hv1, address: 10.44.12.4}, {name: web-2, subnet: app, host: hv2}]
- {name: bare, owner: globex, cidrs: [10.0.0.0/16, 10.1.0.0/16]}
"""
SETUP = (
    "apply --yes --no-wait -f {}",
    "eni create --subnet acme/acme/app --name spare",
    "eni create --subnet acme/acme/app --name second",
    "eni attach acme/acme/second acme/acme/web-1",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a store with something of every kind, and one damaged record."""
    path = tmp_path_factory.mktemp("made")
    (path / "vpc.yaml").write_text(CLOUD)
    for line in SETUP:
        done = CliRunner().invoke(cli, ["--store", str(path / "db"), *shlex.split(line.format(path / "vpc.yaml"))])
        assert done.exit_code == 0, (line, done.output, done.exception)
    with closing(SqliteStore(path / "db")) as store:
        store.txn((), [Put("quota/damaged", b"{")])
    return (path / "db").read_bytes()


@pytest.fixture
def cloud(quick: Run, made: bytes, tmp_path: Path) -> Run:
    """Return the command line of that store."""
    (tmp_path / "db").write_bytes(made)
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    (tmp_path / "changed.yaml").write_text("vpcs: [{name: more, cidrs: [10.7.0.0/16]}]")
    (tmp_path / "quota.json").write_text("{}")
    return quick


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
def test_a_dry_run_succeeds_as_the_action_would_and_writes_nothing(cloud: Run, tmp_path: Path, words: str) -> None:
    before = contents(tmp_path)
    arguments = [*words.split(), *shlex.split(ACTIONS[words])]
    said = cloud(*arguments, "--dry-run").stdout
    assert said == "DryRunOperation: the request would have succeeded; nothing was changed\n"
    assert contents(tmp_path) == before
    cloud(*arguments)
    assert contents(tmp_path)[1] != before[1]


@pytest.mark.parametrize("words", READERS)
def test_what_cannot_be_tried_only_reads(cloud: Run, tmp_path: Path, words: str) -> None:
    before = contents(tmp_path)
    code = 2 if words in ("status", "store check") else 0  # both find something
    cloud(*words.split(), *shlex.split(READERS[words]), code=code)
    assert contents(tmp_path) == before


def test_a_dry_run_that_would_fail_says_why(cloud: Run, tmp_path: Path) -> None:
    before = contents(tmp_path)
    for arguments, code in (
        ("subnet delete acme/acme/app", "DependencyViolation"),
        ("vpc create acme --cidr 10.0.0.0/8", "InvalidVpc.Range"),
        ("--owner acme host create hv9 --underlay 192.0.2.99", "UnauthorizedOperation"),
        ("--owner globex instance terminate acme/acme/web-1", "InvalidInstanceID.NotFound"),
        ("instance run web-1 --subnet acme/acme/app", "InvalidParameterValue"),
        ("instance move acme/acme/web-1 nowhere", "InvalidHostID.NotFound"),
    ):
        assert code in cloud(*shlex.split(arguments), "--dry-run", code=1).stderr
    assert contents(tmp_path) == before


def test_a_dry_run_of_several_steps_tries_each_on_top_of_those_before(cloud: Run) -> None:
    done = cloud("eni", "detach", "acme/acme/second", "acme/acme/second", "--dry-run")
    assert "DryRunOperation" in done.stdout  # named twice, it is one
    said = cloud("instance", "move", "acme/acme/web-1", "acme/acme/web-2", "hv1", "--dry-run", code=1).stderr
    assert "hv1" in said  # the first is there already


def test_a_dry_run_waits_for_nobody_and_speaks_json(cloud: Run) -> None:
    said = json.loads(cloud("instance", "run", "new", "--subnet", "acme/acme/app", "--dry-run", "-o", "json").stdout)
    assert said["code"] == "DryRunOperation"
    assert "DryRunOperation" in cloud("instance", "move", "acme/acme/web-1", "hv2", "--dry-run").stdout


def test_a_dry_run_makes_no_store(quick: Run, tmp_path: Path) -> None:
    quick("vpc", "create", "new", "--cidr", "10.0.0.0/16", "--dry-run")
    assert list(tmp_path.iterdir()) == [tmp_path / "vpc.yaml"]
