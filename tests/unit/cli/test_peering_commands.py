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
