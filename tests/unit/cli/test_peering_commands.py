"""`netorch peering`: two owners, one connection."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run

CLOUD = """
vpcs:
- {name: web, owner: acme, cidrs: [10.0.0.0/16]}
- {name: data, owner: globex, cidrs: [10.1.0.0/16]}
"""


@pytest.fixture
def cloud(quick: Run, tmp_path: Path) -> Run:
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    quick("apply", "--yes", "--no-wait")
    return quick


def vpc_id(run: Run, owner: str, name: str) -> str:
    found: str = json.loads(run("--owner", owner, "vpc", "show", name, "-o", "json").stdout)["id"]
    return found


def listed(run: Run, *words: str) -> list[tuple[str, str, str]]:
    rows = json.loads(run(*words, "-o", "json").stdout)
    return [(row["vpc"], row["name"], row["status"]) for row in rows]


def test_two_owners_agree_on_a_connection_and_one_ends_it(cloud: Run) -> None:
    peer = vpc_id(cloud, "globex", "data")
    by_name = cloud("--owner", "acme", "peering", "request", "to-data", "--vpc", "web", "--peer", "data", code=1)
    assert "name another owner's VPC by its id" in by_name.stderr
    cloud("--owner", "acme", "peering", "request", "to-data", "--vpc", "web", "--peer", peer, "--tag", "a=b")
    (row,) = json.loads(cloud("--owner", "globex", "peering", "list", "-o", "json").stdout)
    assert (row["name"], row["status"], row["tags"], row["peer_ranges"]) == ("", "pending-acceptance", {}, [])
    assert "10.0.0.0/16" not in json.dumps(row)
    assert row["id"] in cloud("--owner", "globex", "peering", "list").stdout  # globex gave it no name
    assert row["expires"]
    assert "OperationNotPermitted" in cloud("--owner", "acme", "peering", "accept", "to-data", code=1).stderr
    assert "10.0.0.0/16" in cloud("--owner", "globex", "peering", "accept", row["id"], "--name", "to-web").stdout
    assert listed(cloud, "--owner", "globex", "peering", "list") == [("globex/data", "to-web", "active")]
    assert listed(cloud, "--owner", "acme", "peering", "list", "--status", "active") == [("acme/web", "to-data", "active")]
    late = cloud("--owner", "globex", "peering", "reject", "to-web", code=1).stderr
    assert "is active and cannot be rejected; delete it to end it" in late
    cloud("--owner", "globex", "peering", "delete", "to-web")
    assert listed(cloud, "--owner", "acme", "peering", "list") == [("acme/web", "to-data", "deleted")]


def test_a_request_between_overlapping_ranges_prints_a_failed_connection_and_exits_with_2(cloud: Run) -> None:
    cloud("vpc", "create", "same", "--cidr", "10.0.0.0/24")
    failed = cloud("peering", "request", "p", "--vpc", "acme/web", "--peer", "default/same", "-o", "json", code=2)
    assert json.loads(failed.stdout)["status"] == "failed"
    assert "ranges of the two VPCs overlap" in failed.stderr


def test_the_operator_sees_each_connection_once_and_with_either_vpc(cloud: Run) -> None:
    cloud("peering", "request", "to-data", "--vpc", "web", "--peer", "globex/data")
    assert listed(cloud, "peering", "list") == [("acme/web", "to-data", "pending-acceptance")]
    assert listed(cloud, "peering", "list", "--vpc", "data") == [("globex/data", "", "pending-acceptance")]
    cloud("peering", "reject", "to-data")
    assert listed(cloud, "peering", "list", "--status", "rejected") == [("acme/web", "to-data", "rejected")]


def test_a_plan_says_which_connections_come_and_go(cloud: Run, tmp_path: Path) -> None:
    (tmp_path / "vpc.yaml").write_text(CLOUD.replace("[10.0.0.0/16]", "[10.0.0.0/16], peerings: [{name: d, peer: globex/data}]"))
    assert " acme/web/d " in cloud("plan", code=2).stdout
    cloud("apply", "--yes", "--no-wait")
    cloud("diff")
    assert "peer: globex/data" in cloud("export").stdout
    (tmp_path / "vpc.yaml").write_text(CLOUD)
    assert "packets between the VPCs are dropped" in cloud("plan", code=2).stdout
    cloud("diff", code=2)


THREE = """
hosts: [{name: hv1, underlay: 192.0.2.11}]
vpcs:
- name: web
  cidrs: [10.0.0.0/16]
  peerings: [{name: to-data, peer: data}]
  security_groups: [{name: open, ingress: [{protocol: tcp, ports: 22, source: 10.1.0.0/16}]}]
  route_tables: [{name: main, routes: [WEB_ROUTES]}]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  instances: [{name: w, host: hv1, address: 10.0.1.4, security_groups: [open]}]
- name: data
  cidrs: [10.1.0.0/16]
  peerings: [{name: to-web, peer: web}, {name: to-more, peer: more}]
  security_groups: [{name: open, ingress: [{protocol: tcp, ports: 443, source: 10.0.0.0/8}]}]
  route_tables: [{name: main, routes: [10.0.0.0/16 via pcx-to-web, 10.2.0.0/16 via pcx-to-more]}]
  subnets: [{name: app, cidr: 10.1.1.0/24}]
  instances: [{name: d, host: hv1, address: 10.1.1.4, security_groups: [open]}]
- name: more
  cidrs: [10.2.0.0/16]
  peerings: [{name: to-data, peer: data}]
  route_tables: [{name: main, routes: [10.1.0.0/16 via pcx-to-data, 10.0.0.0/16 via pcx-to-data]}]
  subnets: [{name: app, cidr: 10.2.1.0/24}]
  instances: [{name: m, host: hv1, address: 10.2.1.4}]
"""


def flows(run: Run, *words: str) -> list[tuple[str, str, str, str]]:
    rows = json.loads(run("reach", "--matrix", *words, "-o", "json").stdout)
    return [(f"{row['vpc']}/{row['sources'][0]}", row["destinations"][0], row["services"][0], row["code"]) for row in rows]


def test_a_file_that_names_another_owners_vpc_by_its_name_is_answered_with_how_to_write_it(cloud: Run, tmp_path: Path) -> None:
    (tmp_path / "vpc.yaml").write_text(CLOUD.replace("[10.0.0.0/16]", "[10.0.0.0/16], peerings: [{name: d, peer: data}]"))
    assert "for another owner's VPC write owner/name or its id" in cloud("plan", code=1).stderr


PAIR = """
hosts: [{name: hv1, underlay: 192.0.2.11}, {name: hv2, underlay: 192.0.2.12}]
vpcs:
- name: web
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  instances: [{name: w, host: hv1}]
  peerings: [{name: to-data, peer: data}]
- name: data
  cidrs: [10.1.0.0/16]
  subnets: [{name: app, cidr: 10.1.1.0/24}]
  instances: [{name: d, host: hv2}]
"""


def test_the_end_of_a_connection_reaches_both_vpcs_and_their_hosts_and_a_new_name_does_not(quick: Run, tmp_path: Path) -> None:
    file = tmp_path / "vpc.yaml"
    file.write_text(PAIR)
    quick("apply", "--yes", "--no-wait")
    file.write_text(PAIR.replace("peerings: [{name: to-data, peer: data}]", "peerings: []"))
    said = quick("plan", code=2).stdout
    assert "hosts touched: hv1 hv2\nblast radius: default/data default/web only\n" in said
    file.write_text(PAIR.replace("name: to-data", "name: data"))
    said = quick("plan", code=2).stdout
    assert "hosts touched: hv1\nblast radius: default/web only\n" in said


def test_reach_shows_what_crosses_where_both_route(quick: Run, tmp_path: Path) -> None:
    file = tmp_path / "vpc.yaml"
    file.write_text(THREE.replace("WEB_ROUTES", "10.1.0.0/16 via pcx-to-data"))
    quick("apply", "--yes", "--no-wait")
    quick("diff")
    there = ("default/web/w", "default/data/d", "tcp 443", "")
    back = ("default/data/d", "default/web/w", "tcp 22", "")
    more = ("default/more/m", "default/data/d", "tcp 443", "")
    assert flows(quick) == [there, back, more]
    assert flows(quick, "--vpc", "more") == [more]
    assert flows(quick, "--vpc", "web") == [there, back]
    file.write_text(THREE.replace("WEB_ROUTES", "10.1.9.0/24 via pcx-to-data"))
    changed = quick("reach", "--diff", code=2).stdout
    assert "- default/web  w -> default/data/d: tcp 443" in changed
    assert "- default/data  d -> default/web/w: tcp 22" in changed
    assert "more" not in changed
    quick("apply", "--yes", "--no-wait")
    assert flows(quick) == [(*there[:3], "NO_ROUTE_TO_DESTINATION"), (*back[:3], "NO_ROUTE_TO_DESTINATION"), more]
    file.write_text(THREE.replace("WEB_ROUTES", "10.1.0.0/16 via pcx-to-data, 10.1.1.4/32 via blackhole"))
    quick("apply", "--yes", "--no-wait")
    assert flows(quick) == [(*there[:3], "BAD_STATE_ROUTE"), (*back[:3], "BAD_STATE_ROUTE"), more]
    matrix = " ".join(quick("reach", "--matrix").stdout.split())
    assert "default/web w default/data/d none: tcp 443 (routes drop it: BAD_STATE_ROUTE)" in matrix
    assert "default/more m default/data/d tcp 443" in matrix


def test_reach_says_that_an_appliance_sends_nothing_on_to_a_peer(quick: Run, tmp_path: Path) -> None:
    cloud = THREE.replace("WEB_ROUTES]}", "10.1.0.0/16 via eni fw]}, {name: edge, routes: [10.1.0.0/16 via pcx-to-data]}")
    app = "  subnets: [{name: app, cidr: 10.0.1.0/24}"
    cloud = cloud.replace(app, f"{app}, {{name: edge, cidr: 10.0.2.0/24, route_table: edge}}")
    w = "{name: w, host: hv1, address: 10.0.1.4,"
    fw = "{name: fw, host: hv1, subnet: edge, address: 10.0.2.4, source_dest_check: false}, "
    (tmp_path / "vpc.yaml").write_text(cloud.replace(w, fw + w.replace("w,", "w, subnet: app,")))
    quick("apply", "--yes", "--no-wait")
    found = {row[:2]: row[3] for row in flows(quick, "--vpc", "web")}
    assert found["default/web/w", "default/data/d"] == "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR"
    assert found["default/web/fw", "default/data/d"] == ""


TWO_HOSTS = """
hosts: [{name: hv1, underlay: 192.0.2.11}, {name: hv2, underlay: 192.0.2.12}]
vpcs:
- name: web
  owner: acme
  cidrs: [10.0.0.0/16]
  ipv6_cidrs: ['fd00:0:0:a00::/56']
  peerings: [{name: to-data, peer: globex/data}]
  route_tables: [{name: main, routes: [10.1.0.0/16 via pcx-to-data, 'fd00:0:0:b00::/56 via pcx-to-data']}]
  subnets: [{name: app, cidr: 10.0.1.0/24, ipv6_cidr: 'fd00:0:0:a00::/64'}]
  instances: [{name: w, host: hv1, address: 10.0.1.4, ipv6_address: 'fd00:0:0:a00::4'}]
- name: data
  owner: globex
  cidrs: [10.1.0.0/16]
  ipv6_cidrs: ['fd00:0:0:b00::/56']
  peerings: [{name: to-web, peer: acme/web}]
  security_groups:
  - {name: open, ingress: [{protocol: tcp, ports: 443, source: 10.0.0.0/8}, {protocol: tcp, ports: 443, source: '::/0'}]}
  route_tables: [{name: main, routes: [DATA_ROUTES]}]
  subnets: [{name: app, cidr: 10.1.1.0/24, ipv6_cidr: 'fd00:0:0:b00::/64'}]
  instances:
  - {name: near, host: hv1, address: 10.1.1.4, ipv6_address: 'fd00:0:0:b00::4', security_groups: [open]}
  - {name: far, host: hv2, address: 10.1.1.5, ipv6_address: 'fd00:0:0:b00::5', security_groups: [open]}
"""
BOTH_ROUTE = TWO_HOSTS.replace("DATA_ROUTES", "10.0.0.0/16 via pcx-to-web, 'fd00:0:0:a00::/56 via pcx-to-web'")


def verdict(run: Run, *words: str, code: int = 2) -> tuple[str, str, str]:
    said = json.loads(run("trace", *words, "-o", "json", code=code).stdout)
    return said["code"], said["sentence"], said["fix"]


@pytest.fixture
def crossed(quick: Run, tmp_path: Path) -> Run:
    (tmp_path / "vpc.yaml").write_text(BOTH_ROUTE)
    quick("apply", "--yes", "--no-wait")
    return quick


@pytest.mark.parametrize("far", ["near", "far", "10.1.1.4", "10.1.1.5", "fd00:0:0:b00::4", "fd00:0:0:b00::5"])
def test_trace_follows_packets_and_answers_to_a_peer(crossed: Run, far: str) -> None:
    out = crossed("trace", "w", far, "tcp/443").stdout
    assert "REACHABLE: w -> " in out
    assert "the answer:" in out
    code, sentence, fix = verdict(crossed, "w", far, "tcp/22")
    assert (code, "of globex/data/" in sentence) == ("ENI_SG_RULES_MISMATCH", True)
    assert fix.startswith("netorch sg rule add globex/data/open ingress tcp 22 --source ")


def test_a_trace_leaves_no_descriptor_open(crossed: Run) -> None:
    crossed("trace", "w", "near", "tcp/443")
    before = sorted(os.listdir("/proc/self/fd"))
    crossed("trace", "w", "near", "tcp/443")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_trace_says_what_is_missing_between_peers(crossed: Run, tmp_path: Path) -> None:
    code, _, fix = verdict(crossed, "w", "10.1.1.99", "tcp/443")
    assert (code, fix.endswith("--vpc globex/data")) == ("NO_MAPPING", True)
    (tmp_path / "vpc.yaml").write_text(TWO_HOSTS.replace("DATA_ROUTES", ""))
    crossed("apply", "--yes", "--no-wait")
    for far in ("near", "far", "10.1.1.5"):
        code, sentence, fix = verdict(crossed, "w", far, "tcp/443")
        assert (code, "is reached, but its answer is lost" in sentence) == ("NO_ROUTE_TO_DESTINATION", True)
    assert verdict(crossed, "near", "w")[::2] == (code, fix)  # the reverse route is missing, too
    crossed(*fix.split()[1:])
    assert verdict(crossed, "w", "far", "tcp/443", code=0)[0] == ""


def test_trace_and_ping_say_when_no_connection_is_active(crossed: Run) -> None:
    assert "check that host" in crossed("ping", "w", "near", code=2).stderr  # no agent runs on this host
    crossed("--owner", "globex", "peering", "delete", "to-web")
    assert "no active peering connection" in crossed("ping", "w", "near", code=2).stderr
    assert verdict(crossed, "w", "near")[0] == "DIFFERENT_VPCS"
    assert verdict(crossed, "w", "10.1.1.4")[0] == "BAD_STATE_ROUTE"
    crossed("peering", "request", "again", "--vpc", "web", "--peer", "globex/data")
    code, sentence, fix = verdict(crossed, "w", "near")
    assert (code, "pending-acceptance" in sentence) == ("BAD_STATE", True)
    crossed(*fix.split()[1:])
    assert {verdict(crossed, "w", far)[0] for far in ("near", "10.1.1.4")} == {"BAD_STATE_ROUTE"}  # routes lead to the old one


def test_an_owner_traces_to_what_is_own_only(crossed: Run) -> None:
    assert "globex" in crossed("--owner", "acme", "trace", "w", "10.1.1.4", code=1).stderr
    assert "NotFound" in crossed("--owner", "acme", "trace", "w", "near", code=1).stderr
