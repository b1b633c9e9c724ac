"""`netorch route-table` and the source/destination check on the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

CLOUD = """
hosts: [{name: hv1, underlay: 192.0.2.11}]
vpcs:
- name: web
  owner: acme
  cidrs: [10.0.0.0/16]
  prefix_lists: [{name: s3, cidrs: [198.51.100.0/24]}]
  route_tables:
  - {name: inner, routes: [0.0.0.0/0 via eni fw]}
  - name: other
  subnets:
  - {name: a, cidr: 10.0.1.0/24}
  - {name: b, cidr: 10.0.2.0/24}
  instances: [{name: fw, subnet: b, source_dest_check: false}]
"""


@pytest.fixture
def cloud(quick: Run, tmp_path: Path) -> Run:
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    quick("apply", "--yes", "--no-wait")
    return quick


def routes(run: Run, table: str) -> list[tuple[str, str, str, str]]:
    rows = json.loads(run("route-table", "route", "list", table, "-o", "json").stdout)
    return [(row["destination"], row["target"], row["origin"], row["state"]) for row in rows]


LOCAL = ("10.0.0.0/16", "local", "CreateRouteTable", "active")


def test_routes_are_added_replaced_and_deleted_in_the_words_of_a_file(cloud: Run) -> None:
    cloud("route-table", "route", "add", "other", "10.9.0.0/16", "via", "blackhole")
    cloud("route-table", "route", "add", "other", "pl-s3", "eni", "fw")
    cloud("route-table", "route", "replace", "other", "10.0.0.0/16", "via", "eni", "fw")
    fw = ("eni fw", "CreateRoute", "active")
    black = ("10.9.0.0/16", "blackhole", "CreateRoute", "blackhole")
    assert routes(cloud, "other") == [("10.0.0.0/16", *fw), black, ("pl-s3", *fw)]
    cloud("route-table", "route", "replace", "other", "10.0.0.0/16", "local")
    cloud("route-table", "route", "delete", "other", "pl-s3")
    assert routes(cloud, "other") == [LOCAL, black]
    assert "10.9.0.0/16 eni fw\n" in cloud("route-table", "route", "add", "other", "10.9.0.0/16", "eni", "fw", code=1).stderr
    assert "InvalidRoute.NotFound" in cloud("route-table", "route", "delete", "other", "10.8.0.0/16", code=1).stderr
    assert "endpoint modify" in cloud("route-table", "route", "add", "other", "0.0.0.0/0", "vpce-s3", code=1).stderr
    assert "'via' is not a target" in cloud("route-table", "route", "add", "other", "0.0.0.0/0", "via", code=1).stderr


def test_a_table_is_shown_with_its_routes(cloud: Run) -> None:
    (shown,) = json.loads(cloud("route-table", "show", "inner", "-o", "json").stdout.join("[]"))
    eni = json.loads(cloud("eni", "show", "fw", "-o", "json").stdout)
    default = shown["routes"][1]
    assert (default["destination"], default["target"], default["target_id"], default["prefix_list"]) == (
        "0.0.0.0/0",
        "eni fw",
        eni["id"],
        "",
    )
    assert eni["source_dest_check"] is False
    text = cloud("route-table", "show", "inner").stdout
    assert cloud("route-table", "route", "list", "inner").stdout in text
    counted = {line.split()[0]: line.split() for line in cloud("route-table", "list").stdout.splitlines()}
    assert counted["inner"][3] == "2"
    assert json.loads(cloud("prefix-list", "show", "s3", "-o", "json").stdout)["route_tables"] == []


def test_subnets_get_a_table_another_one_and_the_main_one(cloud: Run) -> None:
    assert "uses rtb-" in cloud("route-table", "associate", "inner", "a", "b").stdout
    told = cloud("route-table", "associate", "other", "a", code=1).stderr
    assert "Resource.AlreadyAssociated" in told
    assert "netorch route-table replace-association rtb-" in told
    cloud("route-table", "replace-association", "other", "a")
    assert "uses the main table" in cloud("route-table", "disassociate", "a", "b").stdout
    assert "InvalidAssociationID.NotFound" in cloud("route-table", "disassociate", "a", code=1).stderr


def test_the_check_is_switched_for_interfaces_and_new_instances(cloud: Run) -> None:
    assert "is on" in cloud("eni", "modify", "fw", "--source-dest-check").stdout
    assert json.loads(cloud("eni", "show", "fw", "-o", "json").stdout)["source_dest_check"] is True
    assert "Missing option" in cloud("eni", "modify", "fw", code=2).stderr
    cloud("instance", "run", "nat", "--subnet", "a", "--no-source-dest-check", "--no-wait")
    cloud("instance", "run", "app", "--subnet", "a", "--no-wait")
    found = {name: json.loads(cloud("eni", "show", name, "-o", "json").stdout) for name in ("fw", "nat", "app")}
    assert {name: eni["source_dest_check"] for name, eni in found.items()} == {"fw": True, "nat": False, "app": True}


def test_a_plan_and_a_diff_show_routes_that_come_and_go(cloud: Run, tmp_path: Path) -> None:
    cloud("diff")
    (tmp_path / "vpc.yaml").write_text(CLOUD.replace("0.0.0.0/0 via eni fw", "192.0.2.0/24 via blackhole"))
    shown = cloud("plan", code=2).stdout
    assert "acme/web/inner" in shown
    assert "0.0.0.0/0 via eni fw" in shown
    assert "192.0.2.0/24 via blackhole" in shown
    told = cloud("diff", code=2).stdout
    assert '+        routes: ["192.0.2.0/24 via blackhole"]' in told
    cloud("apply", "--yes", "--no-wait")
    cloud("diff")


def test_a_route_that_is_there_already_is_replaced_by_the_command_that_its_error_prints(cloud: Run) -> None:
    error = cloud("route-table", "route", "add", "inner", "0.0.0.0/0", "via", "blackhole", code=1).stderr
    assert error.startswith("error: RouteAlreadyExists")
    cloud(*shlex.split(error.partition(": netorch ")[2])[-6:])
    assert routes(cloud, "inner") == [LOCAL, ("0.0.0.0/0", "blackhole", "CreateRoute", "blackhole")]


def test_who_leaves_the_check_out_is_told_both_words_for_it(cloud: Run) -> None:
    error = cloud("eni", "modify", "fw", code=2).stderr
    assert "'--source-dest-check' or '--no-source-dest-check'" in error


def test_a_wide_list_of_interfaces_shows_the_check(cloud: Run) -> None:
    assert "SOURCE_DEST_CHECK" in cloud("eni", "list", "-o", "wide").stdout


def test_the_main_table_is_not_deleted(cloud: Run) -> None:
    assert "is the VPC's main table" in cloud("route-table", "delete", "main", code=1).stderr
