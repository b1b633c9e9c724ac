"""`netorch peering`: two owners, one connection."""

from __future__ import annotations

import json
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
    cloud("--owner", "acme", "peering", "request", "to-data", "--vpc", "web", "--peer", "data", code=1)
    cloud("--owner", "acme", "peering", "request", "to-data", "--vpc", "web", "--peer", peer, "--tag", "a=b")
    (row,) = json.loads(cloud("--owner", "globex", "peering", "list", "-o", "json").stdout)
    assert (row["name"], row["status"], row["tags"], row["peer_ranges"]) == ("", "pending-acceptance", {}, [])
    assert "10.0.0.0/16" not in json.dumps(row)
    assert row["expires"]
    assert "OperationNotPermitted" in cloud("--owner", "acme", "peering", "accept", "to-data", code=1).stderr
    assert "10.0.0.0/16" in cloud("--owner", "globex", "peering", "accept", row["id"], "--name", "to-web").stdout
    assert listed(cloud, "--owner", "globex", "peering", "list") == [("globex/data", "to-web", "active")]
    assert listed(cloud, "--owner", "acme", "peering", "list", "--status", "active") == [("acme/web", "to-data", "active")]
    assert "InvalidStateTransition" in cloud("--owner", "globex", "peering", "reject", "to-web", code=1).stderr
    cloud("--owner", "globex", "peering", "delete", "to-web")
    assert listed(cloud, "--owner", "acme", "peering", "list") == [("acme/web", "to-data", "deleted")]


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
