"""A public address of another customer belongs to the internet: a trace shows neither its owner nor the instance behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.diagnose.conftest import traced

OTHER = """
vpcs:
- name: theirs
  owner: globex
  cidrs: [10.0.0.0/16]
  internet_gateway: {name: secret-gateway}
  route_tables: [{name: main, routes: ["0.0.0.0/0 via igw"]}]
  subnets: [{name: app, cidr: 10.0.77.0/24}]
  security_groups: [{name: closed}]
  instances: [{name: secret, host: hv2, subnet: app, address: 10.0.77.7, security_groups: [closed], public_address: true}]
"""


@pytest.fixture
def theirs(shop: Run, quick: Run, tmp_path: Path) -> str:
    """Return the public address of an instance of globex, whose group admits nothing."""
    del shop
    (tmp_path / "other.yaml").write_text(OTHER)
    quick("apply", "-f", "other.yaml", "--yes")
    found: str = json.loads(quick("instance", "show", "globex/theirs/secret", "-o", "json").stdout)["public_address"]
    return found


def test_a_packet_to_another_customers_address_leaves_for_the_internet(shop: Run, quick: Run, theirs: str) -> None:
    vni = json.loads(quick("vpc", "show", "globex/theirs", "-o", "json").stdout)["vni"]
    for source in ("front", "a1"):
        said = traced(shop, source, theirs)
        assert (said["reachable"], said["model"]["hops"][-1]["place"]) == (True, "uplink")
        shown = json.dumps(said) + shop("trace", source, theirs, "tcp/443").stdout
        assert not any(secret in shown for secret in ("globex", "theirs", "secret", "10.0.77.7", f"{vni:06x}", f"vx{vni}"))
        assert said["answer"]["edges"] == ["e1", "e2"]


def test_who_sees_both_sees_what_stops_it(shop: Run, quick: Run, theirs: str) -> None:
    del shop
    assert traced(quick, "acme/shop/front", theirs, code=2)["code"] == "ENI_SG_RULES_MISMATCH"


def test_nobody_learns_from_outside_whether_an_address_is_somebodys(shop: Run, quick: Run, theirs: str) -> None:
    held = {row["address"] for row in json.loads(quick("address", "list", "-o", "json").stdout)}
    free = next(address for address in (f"198.51.100.{number}" for number in range(250, 255)) if address not in held)
    sentences = {traced(shop, "internet", address, code=2)["sentence"].replace(address, "X") for address in (theirs, free)}
    assert len(sentences) == 1
