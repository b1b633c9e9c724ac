"""The command line for its users: outputs, exit codes, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import yaml

from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import CLOUD, Run


def test_plan_and_diff_leave_with_2_until_the_file_is_applied(run: Run) -> None:
    assert "Plan: 9 to add." in run("plan", code=2).stdout
    assert "+  - name: acme" in run("diff", code=2).stdout
    run("apply", "--yes", "--no-wait")
    assert "No changes" in run("plan").stdout
    assert run("diff").stdout == ""


FINDERS = [
    ("plan", "-f"),
    ("diff", "-f"),
    ("reach", "--diff", "-f"),
    ("apply", "--yes", "-f"),
    ("check", "-f"),
]


@pytest.mark.parametrize("command", FINDERS, ids=lambda command: str(command[0]))
def test_an_error_is_never_taken_for_a_difference(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "bad.yaml").write_text("vpcs: [{name: 7}]")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for file in ("bad.yaml", "binary.yaml", "nope.yaml", "."):
        assert run(*command, file, code=65).stderr.startswith("error: ")
    assert "No such option" in run(*command, "bad.yaml", "--nonsense", code=64).stderr
    assert "requires an argument" in run(*command, code=64).stderr


@pytest.mark.parametrize("words", ["", "vpc", "vpc show", "instance lost", "status extra", "trace one", "reach", "-o json"])
def test_wrong_usage_has_a_code_of_its_own(run: Run, words: str) -> None:
    assert "Usage: " in run(*words.split(), code=64).stderr


def test_flow_logs_come_and_go_with_the_file(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    declared = CLOUD.replace(
        "  owner: acme\n", "  owner: acme\n  flow_logs: [{name: all, format: srcaddr dstaddr, interval: 60}]\n"
    )
    (tmp_path / "vpc.yaml").write_text(declared)
    assert "+  flow-log       acme/acme/all" in run("plan", code=2).stdout
    assert '+        format: "${srcaddr} ${dstaddr}"' in run("diff", code=2).stdout
    run("apply", "--yes", "--no-wait")
    assert run("diff").stdout == ""
    assert json.loads(run("flow-log", "show", "acme/all", "-o", "json").stdout)["interval_s"] == 60
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    gone = run("plan", code=2).stdout
    assert "-  flow-log       acme/acme/all                of the VPC\n" in gone


def test_a_plan_says_what_moves_what_dies_and_how_far_it_reaches(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    changed = CLOUD.replace("{name: web-2, host: hv2}", "{name: web-2, host: hv1}\n  - {name: web-3}").replace(
        "instances: [{name: web-1, host: hv1, address: 10.44.12.4}]", "instances: []"
    )
    (tmp_path / "vpc.yaml").write_text(changed)
    out = run("plan", code=2).stdout
    assert "host hv2 -> hv1" in out
    assert "-  instance       globex/globex/web-1" in out
    assert "blast radius: acme/acme globex/globex only" in out
    assert "Plan: 1 to add, 1 to move, 1 to delete." in out
    plan = json.loads(run("plan", "-o", "json", code=2).stdout)
    assert {(c["action"], c["path"]) for c in plan["changes"]} == {
        ("move", "acme/acme/web-2"),
        ("add", "acme/acme/web-3"),
        ("delete", "globex/globex/web-1"),
    }


def test_lists_are_columns_json_or_yaml(run: Run) -> None:
    run("apply", "--yes", "--no-wait")
    lines = run("instance", "list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "VPC", "ADDRESS", "PUBLIC_ADDRESS", "IPV6_ADDRESS", "HOST", "STATE"]
    assert len(lines) == 4
    rows = json.loads(run("instance", "list", "-o", "json").stdout)
    assert yaml.safe_load(run("instance", "list", "-o", "yaml").stdout) == rows
    assert sorted((row["vpc"], row["name"], row["address"]) for row in rows) == [
        ("acme/acme", "web-1", "10.44.12.4"),
        ("acme/acme", "web-2", "10.44.12.5"),
        ("globex/globex", "web-1", "10.44.12.4"),
    ]


def test_lists_are_of_one_vpc_when_it_is_named(run: Run) -> None:
    run("apply", "--yes", "--no-wait")
    for noun in ("instance", "eni", "subnet", "map", "sg"):
        rows = json.loads(run(noun, "list", "--vpc", "globex", "-o", "json").stdout)
        assert {row["vpc"] for row in rows} == {"globex/globex"}
        assert "InvalidVpcID.NotFound" in run(noun, "list", "--vpc", "none", code=1).stderr


def test_names_are_found_by_as_much_as_is_needed(run: Run) -> None:
    run("apply", "--yes", "--no-wait")
    assert "web-2" in run("instance", "show", "web-2").stdout
    error = run("instance", "show", "web-1", code=1).stderr
    assert "choose one of acme/acme/web-1, globex/globex/web-1" in error
    shown = json.loads(run("instance", "show", "globex/web-1", "-o", "json").stdout)
    assert json.loads(run("instance", "show", shown["id"], "-o", "json").stdout) == shown


def test_an_owner_sees_nothing_of_another(run: Run) -> None:
    run("apply", "--yes", "--no-wait")
    theirs = json.loads(run("instance", "show", "globex/web-1", "-o", "json").stdout)["id"]
    assert "NotFound" in run("--owner", "acme", "instance", "show", theirs, code=1).stderr
    nouns = ("vpc", "subnet", "route-table", "sg", "nacl", "prefix-list", "eni", "instance", "map", "flow-log")
    for command in [(noun, "list") for noun in nouns] + [("export",), ("reach", "--matrix")]:
        assert "globex" not in run("--owner", "acme", *command).stdout
    assert "192.0.2.1" not in run("--owner", "acme", "export").stdout


@pytest.mark.parametrize("words", ["host list", "host delete hv1", "status", "drift", "store check", "check"])
def test_what_is_the_operators_is_no_customers(run: Run, words: str) -> None:
    run("apply", "--yes", "--no-wait")
    assert "UnauthorizedOperation" in run("--owner", "acme", *words.split(), code=1).stderr


@pytest.mark.parametrize("owner", ["", "a/b", "-"])
def test_an_owner_that_is_none_is_not_the_operator(run: Run, owner: str) -> None:
    assert "Invalid value for '--owner'" in run("--owner", owner, "vpc", "list", code=64).stderr


def test_a_customer_declares_no_hosts_but_may_name_those_there_are(run: Run, tmp_path: Path) -> None:
    own = CLOUD[: CLOUD.index("- name: globex")]
    (tmp_path / "vpc.yaml").write_text(own)
    assert "UnauthorizedOperation: host 'hv1'" in run("--owner", "acme", "plan", code=1).stderr
    run("apply", "--yes", "--no-wait")
    assert "No changes" in run("--owner", "acme", "plan").stdout
    (tmp_path / "vpc.yaml").write_text(own.replace("192.0.2.12", "192.0.2.99"))
    assert "UnauthorizedOperation: host 'hv2'" in run("--owner", "acme", "plan", code=1).stderr


def test_the_mapping_service_answers_by_name_and_by_vni(run: Run) -> None:
    run("apply", "--yes", "--no-wait")
    found = json.loads(run("map", "lookup", "acme", "10.44.12.5", "-o", "json").stdout)
    assert (found["host"], found["vtep"]) == ("hv2", "192.0.2.12")
    assert json.loads(run("map", "lookup", str(found["vni"]), "10.44.12.5", "-o", "json").stdout) == found
    assert "not mapped" in run("map", "lookup", "acme", "10.44.12.99", code=1).stderr


def test_every_noun_can_be_made_shown_listed_and_removed(run: Run) -> None:
    run("host", "create", "hv1", "--underlay", "192.0.2.11")
    run("vpc", "create", "lab", "--cidr", "10.0.0.0/16", "--tag", "team=net")
    run("route-table", "create", "private", "--vpc", "lab")
    run("subnet", "create", "a", "--vpc", "lab", "--cidr", "10.0.1.0/24", "--route-table", "private")
    run("eni", "create", "--subnet", "a", "--address", "10.0.1.9", "--name", "spare")
    run("instance", "run", "i1", "--subnet", "a", "--no-wait")
    assert "private" in run("route-table", "list").stdout
    assert json.loads(run("subnet", "show", "a", "-o", "json").stdout)["available_addresses"] == 249
    assert "DependencyViolation" in run("vpc", "delete", "lab", code=1).stderr
    assert "DependencyViolation" in run("host", "delete", "hv1", code=1).stderr
    run("instance", "terminate", "i1")
    run("eni", "delete", "spare")
    run("subnet", "delete", "a")
    run("route-table", "delete", "private")
    run("vpc", "delete", "lab")
    run("host", "delete", "hv1")
    assert run("vpc", "list", "-o", "json").stdout == "[]\n"


def test_an_instance_that_names_nothing_lands_in_the_default_vpc(run: Run) -> None:
    run("host", "create", "hv1", "--underlay", "192.0.2.11")
    row = json.loads(run("instance", "run", "solo", "--no-wait", "-o", "json").stdout)[0]
    assert (row["vpc"], row["address"], row["host"]) == ("default/default", "172.31.0.4", "hv1")


def test_status_says_what_is_wrong_and_leaves_with_2(run: Run) -> None:
    run("apply", "--yes", "--no-wait")
    out = run("status", code=2).stdout
    assert "problem: host hv1: its agent is not running" in out
    assert json.loads(run("status", "-o", "json", code=2).stdout)["instances"] == 3


def test_status_tells_how_full_connection_tables_are_and_who_may_begin_no_connection(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    vni = json.loads(run("vpc", "show", "acme/acme", "-o", "json").stdout)["vni"]
    said = AgentStatus(version="", pid=1, started_at=0, table_percent=64, refused=(vni,), counters={"allowance": 7})
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Put(keys.agent_status("hv1"), msgspec.json.encode(said))])
    out = run("status", code=2).stdout
    assert "host hv1: its connection table is 64 % full" in out
    assert "problem: host hv1: VPC acme holds more connections than the host's table has free" in out
    assert "a packet would open a connection, but its VPC already holds more than the host's connection table has free" in out


def test_mistakes_are_answered_with_what_to_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("vpcs: [{name: a, cidrs: [10.0.0.0/8], subnet: []}]")
    error = run("apply", "-f", "bad.yaml", code=65).stderr
    assert "did you mean subnets" in error
    assert "/16 to /28" in error
    assert "does not exist" in run("vpc", "list", "-o", "json", code=1).stderr  # and no store was created
    assert "check the path" in run("plan", "-f", "nope.yaml", code=65).stderr
    assert "Did you mean 'vpc'" in run("vppc", code=64).stderr
    assert "KEY=VALUE" in run("vpc", "create", "x", "--cidr", "10.0.0.0/16", "--tag", "oops", code=64).stderr


def test_every_record_has_the_same_fields_in_json_whatever_they_hold(run: Run) -> None:
    run("host", "create", "bare", "--underlay", "192.0.2.1")
    run("host", "create", "tagged", "--underlay", "192.0.2.2", "--tag", "rack=1")
    assert [row["tags"] for row in json.loads(run("host", "list", "-o", "json").stdout)] == [{}, {"rack": "1"}]
    row = json.loads(run("instance", "run", "solo", "--no-wait", "-o", "json").stdout)[0]
    assert (row["attachment"], row["netns"], row["tags"]) == ("netns", "", {})


def test_drift_of_an_unknown_host_is_an_error_and_not_a_kernel_to_be_cleared(run: Run) -> None:
    run("host", "create", "nowhere", "--underlay", "192.0.2.11")
    for host, found in (
        ("nope", "host 'nope': does not exist; choose one of `netorch host list`"),
        ("nowhere", "its namespace netorch-nowhere is not on this machine"),
    ):
        said = run("drift", "--host", host, code=1).stderr
        assert found in said
        assert "run this on the host" in said
    assert not Path("/run/netns/netorch-nowhere").exists()


@pytest.mark.parametrize(
    "noun", ["vpc", "subnet", "route-table", "sg", "nacl", "prefix-list", "eni", "instance", "host", "map", "lab"]
)
def test_no_line_of_help_is_cut_short(run: Run, noun: str) -> None:
    assert "..." not in run(noun, "--help").stdout.split("Commands:")[1]


def test_an_exported_cloud_applies_without_changes(run: Run, tmp_path: Path) -> None:
    run("apply", "--yes", "--no-wait")
    (tmp_path / "again.yaml").write_text(run("export").stdout)
    assert "No changes" in run("plan", "-f", "again.yaml").stdout


def test_help_imports_none_of_the_heavy_libraries(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['netorch', '--help']\nfrom netorch.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'pyroute2', 'nftables', 'rich', 'yaml', 'sqlite3'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_plan_says_what_apply_will_refuse_and_what_is_stuck(run: Run, tmp_path: Path) -> None:
    def file(vni: int, extra: str = "") -> None:
        vpcs = "".join(f"  - {{name: v{n}, vni: {vni + n}, cidrs: [10.0.0.0/16]}}\n" for n in range(12))
        (tmp_path / "vpc.yaml").write_text(f"vpcs:\n{vpcs}{extra}")

    file(8000)
    run("apply")
    file(9000)
    assert "apply will refuse this: the plan deletes 12 of 12 VPCs" in run("plan", code=2).stdout
    assert json.loads(run("plan", "-o", "json", code=2).stdout)["refused"].startswith("the plan deletes 12 of 12 VPCs")
    assert "OperationNotPermitted" in run("apply", code=1).stderr
    file(8000, "  - {name: fine, cidrs: [10.0.0.0/16]}\n  - {name: bad, owner: acme, cidrs: [10.0.0.0/16], vni: 5000}\n")
    run("vpc", "create", "has-it", "--cidr", "10.0.0.0/16", "--vni", "5000")
    stuck = run("plan", code=1)
    assert "stuck: VPC acme/bad stays unchanged:  InvalidParameterValue" in stuck.stdout
    assert "default/fine" in stuck.stdout
    assert "VPC acme/bad stays unchanged" in run("apply", code=1).stderr
    assert "fine" in run("vpc", "list").stdout


def test_a_refused_quota_comes_with_the_command_that_raises_it(run: Run) -> None:
    run("quota", "set", "acme", "vpcs=1")
    run("--owner", "acme", "vpc", "create", "a", "--cidr", "10.0.0.0/16")
    refused = run("--owner", "acme", "vpc", "create", "b", "--cidr", "10.0.0.0/16", code=1).stderr
    assert "VpcLimitExceeded" in refused
    assert "UnauthorizedOperation" in run("--owner", "acme", "quota", "set", "acme", "vpcs=2", code=1).stderr
    run(*refused.partition("raise the quota: netorch ")[2].split())
    run("--owner", "acme", "vpc", "create", "b", "--cidr", "10.0.0.0/16")
    assert json.loads(run("quota", "show", "acme", "-o", "json").stdout)["vpcs"] == 2
    assert "there is no limit 'vpc'" in run("quota", "set", "acme", "vpc=2", code=1).stderr
    assert "out of range" in run("quota", "set", "acme", "interfaces_per_instance=16", code=1).stderr
    run("quota", "set", "acme", "vpcs=-1", code=64)
