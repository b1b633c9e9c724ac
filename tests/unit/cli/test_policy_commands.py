"""Security groups, network ACLs and prefix lists on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CLOUD, Run


@pytest.fixture
def lab(run: Run) -> Run:
    run("host", "create", "hv1", "--underlay", "192.0.2.11")
    run("vpc", "create", "lab", "--cidr", "10.0.0.0/16")
    run("subnet", "create", "a", "--vpc", "lab", "--cidr", "10.0.1.0/24")
    return run


def value(run: Run, *arguments: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(run(*arguments, "-o", "json").stdout)
    return found


def rules(run: Run, group: str) -> list[tuple[str, str, str, str]]:
    rows = json.loads(run("sg", "rule", "list", group, "-o", "json").stdout)
    return [(row["direction"], row["protocol"], row["ports"], row["peer"]) for row in rows]


def test_a_rule_is_added_in_the_words_of_the_manual_and_removed_by_id_or_by_words(lab: Run) -> None:
    for name in ("lb", "web"):
        lab("sg", "create", name, "--vpc", "lab")
    lab("sg", "rule", "add", "web", "ingress", "tcp", "443", "--source", "sg-lb")
    lab("sg", "rule", "add", "web", "ingress", "icmp", "8/0", "--source", "10.0.0.0/8", "--description", "ping")
    assert rules(lab, "web") == [
        ("ingress", "tcp", "443", "sg-lb"),
        ("ingress", "icmp", "8/0", "10.0.0.0/8"),
        ("egress", "all", "", "0.0.0.0/0"),
        ("egress", "all", "", "::/0"),
    ]
    assert "DependencyViolation" in lab("sg", "delete", "lb", code=1).stderr
    assert (
        "InvalidPermission.Duplicate"
        in lab("sg", "rule", "add", "web", "ingress", "6", "443", "--source", "sg-lb", code=1).stderr
    )
    lab("sg", "rule", "remove", "web", "ingress", "tcp", "443", "--source", "sg-lb", "--terminate-established")
    shown = value(lab, "sg", "show", "web")
    assert shown["terminations"] == 1
    lab("sg", "rule", "remove", "web", shown["ingress"][0]["id"])  # type: ignore[index]
    assert value(lab, "sg", "show", "web")["ingress"] == []
    lab("sg", "delete", "lb")
    assert "default VPC security group" in lab("sg", "show", "default").stdout


def test_rules_are_listed_alike_for_groups_and_acls(lab: Run) -> None:
    for noun in ("sg", "nacl"):
        rules = json.loads(lab(noun, "rule", "list", "default", "-o", "json").stdout)
        shown = value(lab, noun, "show", "default")
        assert rules == shown["ingress"] + shown["egress"]  # type: ignore[operator]
        assert lab(noun, "rule", "list", "default").stdout in lab(noun, "show", "default").stdout


def test_the_option_of_the_other_way_is_wrong_usage(lab: Run) -> None:
    assert (
        "needs --source"
        in lab("sg", "rule", "add", "default", "ingress", "tcp", "443", "--destination", "10.0.0.0/8", code=64).stderr
    )
    assert "needs --destination" in lab("sg", "rule", "remove", "default", "egress", "all", code=64).stderr
    assert "name the rule" in lab("sg", "rule", "remove", "default", "all", "443", code=64).stderr
    assert "write tcp" in lab("sg", "rule", "add", "default", "ingress", "TCP", "--source", "10.0.0.0/8", code=1).stderr


def test_an_acl_is_made_filled_associated_and_removed(lab: Run) -> None:
    lab("nacl", "create", "edge", "--vpc", "lab")
    lab("nacl", "rule", "add", "edge", "ingress", "100", "deny", "tcp", "22", "--cidr", "10.0.0.0/8")
    lab("nacl", "rule", "replace", "edge", "ingress", "100", "deny", "tcp", "23", "--cidr", "10.0.0.0/8")
    lab("nacl", "rule", "add", "edge", "ingress", "32766", "allow", "all", "--cidr", "0.0.0.0/0")
    lab("nacl", "associate", "edge", "a")
    shown = value(lab, "nacl", "show", "edge")
    assert [(entry["number"], entry["action"], entry["ports"]) for entry in shown["ingress"]] == [  # type: ignore[attr-defined]
        (100, "deny", "23"),
        (32766, "allow", ""),
    ]
    assert value(lab, "subnet", "show", "a")["network_acl"] == shown["id"]
    assert "DependencyViolation" in lab("nacl", "delete", "edge", code=1).stderr
    lab("nacl", "rule", "remove", "edge", "ingress", "100")
    lab("nacl", "associate", "default", "a")
    lab("nacl", "delete", "edge")
    assert lab("nacl", "list", "-o", "name").stdout == "default/lab/default\n"


def test_a_prefix_list_is_made_set_and_removed(lab: Run) -> None:
    lab("prefix-list", "create", "offices", "192.0.2.0/24", "--vpc", "lab", "--max-entries", "5")
    lab("sg", "rule", "add", "default", "ingress", "tcp", "22", "--source", "pl-offices")
    lab("prefix-list", "set", "offices", "198.51.100.0/24", "203.0.113.0/24")
    shown = value(lab, "prefix-list", "show", "offices")
    assert (shown["entries"], shown["max_entries"]) == (["198.51.100.0/24", "203.0.113.0/24"], 5)
    assert "a rule of security group default" in lab("prefix-list", "delete", "offices", code=1).stderr
    lab("sg", "rule", "remove", "default", "ingress", "tcp", "22", "--source", "pl-offices")
    lab("prefix-list", "delete", "offices")
    assert "offices" not in lab("prefix-list", "list").stdout


def test_instances_and_interfaces_are_put_into_groups(lab: Run) -> None:
    ids = {name: value(lab, "sg", "create", name, "--vpc", "lab")["id"] for name in ("lb", "web")}
    lab("instance", "run", "i1", "--subnet", "a", "--no-wait", "--security-group", "web")
    lab("eni", "create", "--subnet", "a", "--name", "spare", "--security-group", "web", "--security-group", "lb")
    assert value(lab, "instance", "show", "i1")["security_groups"] == ["web"]
    assert value(lab, "eni", "show", "spare")["groups"] == sorted(ids.values(), key=str)
    lab("instance", "set-groups", "i1", "lb")
    lab("eni", "set-groups", "spare", "sg-lb")
    assert value(lab, "eni", "show", "spare")["security_groups"] == ["lb"]
    assert len(value(lab, "sg", "show", "lb")["interfaces"]) == 2  # type: ignore[arg-type]
    assert "InvalidGroup.NotFound" in lab("instance", "set-groups", "i1", "nope", code=1).stderr


def test_a_name_that_several_vpcs_have_needs_its_vpc(lab: Run) -> None:
    lab("vpc", "create", "other", "--cidr", "10.0.0.0/16")
    assert "default/lab/default, default/other/default" in lab("sg", "show", "default", code=1).stderr
    assert "default/other" in lab("sg", "show", "other/default").stdout


def test_groups_and_acls_are_those_of_the_vpc_of_what_they_are_given_to(lab: Run) -> None:
    lab("vpc", "create", "other", "--cidr", "10.0.0.0/16")
    lab("instance", "run", "i1", "--subnet", "a", "--host", "hv1", "--no-wait")
    lab("sg", "create", "web", "--vpc", "lab")
    lab("sg", "create", "web", "--vpc", "other")
    ours = value(lab, "sg", "show", "lab/web")["id"]
    assert lab("instance", "set-groups", "i1", "web").stdout == f"i1 is in {ours}\n"
    assert lab("eni", "set-groups", "i1", "sg-web").stdout.endswith(f"is in {ours}\n")
    lab("nacl", "associate", "default", "a")


def test_a_way_alone_is_no_rule(lab: Run) -> None:
    assert "name the rule" in lab("sg", "rule", "remove", "lab/default", "ingress", code=64).stderr


def test_a_plan_shows_the_rules_and_diff_only_what_differs(run: Run, tmp_path: Path) -> None:
    policy = """\
  security_groups:
  - name: web
    ingress: [{protocol: tcp, ports: 22, source: 10.0.0.0/8}, {protocol: 6, ports: 443-443, source: 0.0.0.0/0}]
    egress: [{protocol: all, destination: "::/0"}, {protocol: all, destination: 0.0.0.0/0}]
  network_acls: [{name: shut}]
"""
    file = tmp_path / "vpc.yaml"
    subnet = "  subnets: [{name: app, cidr: 10.44.12.0/24"
    file.write_text(CLOUD.replace(subnet, f"{policy}{subnet}, network_acl: default", 1))
    assert "ingress + tcp 443 from 0.0.0.0/0" in run("plan", code=2).stdout
    run("apply", "--yes", "--no-wait")
    assert run("diff").stdout == ""
    file.write_text(file.read_text().replace("ports: 22", "ports: 23"))
    assert "       ingress - tcp 22 from 10.0.0.0/8\n       ingress + tcp 23 from 10.0.0.0/8\n" in run("plan", code=2).stdout
    changed = [line for line in run("diff", code=2).stdout.splitlines() if line[0] in "+-" and line[:3] not in ("---", "+++")]
    assert [line.strip("+- ") for line in changed] == ["ports: 22", "ports: 23"]
    run("apply", "--yes", "--no-wait")
    (tmp_path / "again.yaml").write_text(run("export").stdout)
    assert "No changes" in run("plan", "-f", "again.yaml").stdout


def test_names_are_completed(lab: Run, tmp_path: Path) -> None:
    lab("sg", "create", "web", "--vpc", "lab")
    lab("prefix-list", "create", "offices", "192.0.2.0/24", "--vpc", "lab")

    def offered(*words: str) -> list[str]:
        line = " ".join(["netorch", "--store", str(tmp_path / "db"), *words])
        done = subprocess.run(
            [sys.executable, "-c", "from netorch.cli.main import cli; cli(prog_name='netorch')"],
            cwd=tmp_path,
            env={
                "_NETORCH_COMPLETE": "bash_complete",
                "COMP_WORDS": line + " ",
                "COMP_CWORD": str(len(line.split())),
                "PATH": "/usr/bin:/bin",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        return sorted(found.partition(",")[2] for found in done.stdout.splitlines())

    assert offered("sg", "show") == ["lab/default", "lab/web"]
    assert offered("nacl", "delete") == ["lab/default"]
    assert offered("prefix-list", "set") == ["lab/offices"]


def test_a_bare_name_means_what_is_in_the_same_vpc(run: Run) -> None:
    run("host", "create", "hv1", "--underlay", "192.0.2.11")
    for vpc in ("one", "two"):
        run("vpc", "create", vpc, "--cidr", "10.0.0.0/16")
        run("route-table", "create", "side", "--vpc", vpc)
        run("nacl", "create", "strict", "--vpc", vpc)
        run("sg", "create", "web", "--vpc", vpc)
        run("subnet", "create", "a", "--vpc", vpc, "--cidr", "10.0.1.0/24", "--route-table", "side", "--network-acl", "strict")
    run("route-table", "associate", "side", "two/a")
    run("eni", "create", "--subnet", "two/a", "--security-group", "web")
    run("instance", "run", "i", "--vpc", "two", "--subnet", "a", "--security-group", "web", "--no-wait")
    assert value(run, "instance", "show", "i")["security_groups"] == ["web"]
    assert value(run, "sg", "show", "one/web")["interfaces"] == []
