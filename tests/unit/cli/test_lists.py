"""Lists: readable names, filters, several resources at a time, tags."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from netorch.cli.commands import eni, instance
from netorch.control.views.describe import InstanceState
from netorch.model.eni import EniState
from tests.unit.cli.conftest import Run

CLOUD = """
hosts: [{name: hv1, underlay: 192.0.2.11, tags: {rack: "1"}}, {name: hv2, underlay: 192.0.2.12}]
vpcs:
- name: acme
  owner: acme
  cidrs: [10.44.0.0/16]
  prefix_lists: [{name: office, cidrs: [192.0.2.0/24]}]
  flow_logs: [{name: all}]
  security_groups:
  - {name: web, ingress: [{protocol: tcp, ports: 443, source: pl-office}]}
  network_acls: [{name: strict}]
  route_tables: [{name: private, routes: [pl-office via blackhole]}]
  subnets:
  - {name: app, cidr: 10.44.12.0/24, route_table: private, network_acl: strict}
  - {name: db, cidr: 10.44.13.0/24}
  instances:
  - {name: web-1, subnet: app, host: hv1, security_groups: [web], tags: {team: net, tier: front}}
  - {name: web-2, subnet: app, host: hv2, security_groups: [web], tags: {team: net}}
  - {name: db-1, subnet: db, host: hv2}
"""
NAMES = {
    "vpc": "acme/acme",
    "subnet": "acme/acme/app",
    "route-table": "acme/acme/private",
    "sg": "acme/acme/web",
    "nacl": "acme/acme/strict",
    "prefix-list": "acme/acme/office",
    "flow-log": "acme/acme/all",
    "instance": "acme/acme/web-1",
    "eni": "acme/acme/web-1",
    "host": "hv1",
}


@pytest.fixture
def cloud(quick: Run, tmp_path: Path) -> Run:
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    quick("apply", "--yes", "--no-wait")
    return quick


def names(run: Run, *words: str) -> list[str]:
    return run(*words, "-o", "name").stdout.split()


@pytest.mark.parametrize("noun", NAMES)
def test_a_list_shows_names_and_no_ids_but_those_that_are_asked_for(cloud: Run, noun: str) -> None:
    rows = json.loads(cloud(noun, "list", "-o", "json").stdout)
    ids = [row["id"] for row in rows if "id" in row]
    usual, wide = cloud(noun, "list").stdout, cloud(noun, "list", "-o", "wide").stdout
    assert "-00100" not in usual
    assert all(resource_id in wide for resource_id in ids)
    head, *lines = csv.reader(io.StringIO(cloud(noun, "list", "-o", "csv").stdout))
    assert [name.upper() for name in head] == wide.splitlines()[0].split()
    assert len(lines) == len(rows)


@pytest.mark.parametrize("noun", NAMES)
def test_what_a_list_calls_a_resource_other_commands_take(cloud: Run, noun: str) -> None:
    for name in names(cloud, noun, "list"):
        cloud(noun, "show", name)


def test_references_are_shown_by_name(cloud: Run) -> None:
    row = cloud("subnet", "list", "-o", "wide").stdout.splitlines()[1].split()
    assert row[5:7] == ["private", "strict"]
    assert cloud("eni", "list").stdout.splitlines()[1].split()[4] == "web-1"
    assert cloud("prefix-list", "list").stdout.splitlines()[1].split()[-2:] == ["web", "private"]
    assert cloud("flow-log", "list").stdout.splitlines()[1].split()[2] == "acme"


def test_a_record_within_a_record_is_shown_by_its_fields(cloud: Run) -> None:
    shown = next(line for line in cloud("vpc", "show", "acme/acme").stdout.splitlines() if line.startswith("dhcp "))
    assert shown.split() == ["dhcp", "domain_name=compute.internal", "domain_name_servers=provided"]


def test_lists_are_filtered_by_tag_host_and_state(cloud: Run) -> None:
    assert names(cloud, "instance", "list", "--tag", "team") == ["acme/acme/web-1", "acme/acme/web-2"]
    assert names(cloud, "instance", "list", "--tag", "team=net", "--tag", "tier=front") == ["acme/acme/web-1"]
    assert names(cloud, "instance", "list", "--tag", "team=nothing") == []
    assert names(cloud, "instance", "list", "--host", "hv2") == ["acme/acme/db-1", "acme/acme/web-2"]
    assert names(cloud, "instance", "list", "--host", "hv2", "--tag", "team") == ["acme/acme/web-2"]
    assert names(cloud, "instance", "list", "--state", "running") == []
    assert len(names(cloud, "eni", "list", "--state", "pending", "--vpc", "acme")) == 3
    assert names(cloud, "host", "list", "--tag", "rack=1") == ["hv1"]
    assert names(cloud, "host", "list", "--live", "yes") == []
    assert len(json.loads(cloud("map", "list", "--host", "hv1", "-o", "json").stdout)) == 1


@pytest.mark.parametrize("noun", NAMES)
def test_tags_of_every_kind_of_resource_are_set(cloud: Run, noun: str) -> None:
    name = NAMES[noun]
    cloud(noun, "set-tags", name, "site=edge", "stage=")
    shown = json.loads(cloud(noun, "show", name, "-o", "json").stdout)
    assert {key: value for key, value in shown["tags"].items() if key != "netorch:source"} == {"site": "edge", "stage": ""}
    assert len(names(cloud, noun, "list", "--tag", "site=edge")) == 1
    assert "InvalidParameterValue" in cloud(noun, "set-tags", name, "netorch:source=x", code=1).stderr
    cloud(noun, "set-tags", name)
    assert names(cloud, noun, "list", "--tag", "site") == []


def test_a_vpc_stays_its_files_when_its_tags_are_set(cloud: Run, tmp_path: Path) -> None:
    cloud("vpc", "set-tags", "acme", "team=net")
    (tmp_path / "vpc.yaml").write_text(CLOUD.partition("vpcs:")[0])
    assert "-  vpc" in cloud("plan", code=2).stdout


def test_tags_are_no_way_into_another_owners_cloud(cloud: Run) -> None:
    assert "NotFound" in cloud("--owner", "globex", "instance", "set-tags", "acme/web-1", "team=mine", code=1).stderr
    assert "UnauthorizedOperation" in cloud("--owner", "acme", "host", "set-tags", "hv1", "team=mine", code=1).stderr


def test_several_resources_are_named_at_a_time_and_a_wrong_name_changes_none(cloud: Run) -> None:
    assert "NotFound" in cloud("instance", "terminate", "web-1", "web-9", code=1).stderr
    assert len(names(cloud, "instance", "list")) == 3
    assert len(json.loads(cloud("instance", "show", "web-1", "db-1", "-o", "json").stdout)) == 2
    cloud("instance", "set-tags", "web-1", "db-1", "team=new")
    assert names(cloud, "instance", "list", "--tag", "team=new") == ["acme/acme/db-1", "acme/acme/web-1"]
    cloud("instance", "move", "web-2", "db-1", "hv1", "--no-wait")
    cloud("nacl", "associate", "strict", "app", "db")
    cloud("instance", "terminate", "web-1", "web-2", "db-1", "db-1")
    assert names(cloud, "instance", "list") == []
    cloud("subnet", "delete", "app", "db")
    assert names(cloud, "subnet", "list") == []


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("security-group list", "sg"),
        ("deploy", "apply"),
        ("describe-instances", "instance"),
        ("network-acls list", "nacl"),
        ("instance describe web-1", "show"),
        ("instance ls", "list"),
        ("edge list", "host"),
        ("vpc destroy acme", "delete"),
        ("sg rule authorize web", "add"),
        ("sg add web", "rule add"),
        ("route-table replace public", "route replace"),
        ("vpc label acme", "tag"),
        ("instance run x --sg web", "--security-group"),
        ("instance list --hosts hv1", "--host"),
        ("apply --auto-approve", "--yes"),
        ("vpc list --json", "--output"),
    ],
)
def test_the_fields_other_words_lead_to_ours(run: Run, words: str, meant: str) -> None:
    assert f"Did you mean '{meant}'?" in run(*words.split(), code=64).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("vpc list --ownr x", "Did you mean '--owner'? It goes before the command."),
        ("plan --lab x", "Did you mean '--lab'? It goes before the command."),
        ("describe vpc acme", "The kind comes first, e.g. `netorch vpc show`."),
        ("create vpc acme", "The kind comes first, e.g. `netorch vpc create`."),
    ],
)
def test_a_word_in_the_wrong_place_is_told_its_place(run: Run, words: str, told: str) -> None:
    assert told in run(*words.split(), code=64).stderr


def test_a_state_that_nothing_can_have_is_no_empty_list(run: Run) -> None:
    for noun in ("instance", "eni"):
        refused = run(noun, "list", "--state", "runnin", code=64).stderr
        assert "'runnin' is not one of" in refused
        assert "'failed'" in refused
    assert {state.value for state in InstanceState} == set(instance.STATES)
    assert {state.value for state in EniState} < set(eni.STATES)
