"""`trace` and `reach` through an egress-only internet gateway: outbound and replies, nothing inbound, and repair commands."""

from __future__ import annotations

import json
from ipaddress import IPv6Network

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.diagnose.conftest import traced

SERVER = "2001:4860:1::10"
FRIEND = "2001:4860:2::/48"  # the mixed table sends it to the internet gateway


@pytest.fixture
def six(shop: Run, quick: Run) -> Run:
    """Return the command line of acme's owner; its subnets `six`, `mixed` and `open` have IPv6 ranges and an instance each."""
    quick("address", "pool", "add", "west", "2001:db8:100::/40")
    (cidr,) = json.loads(shop("vpc", "associate-cidr", "shop", "--provided-ipv6", "-o", "json").stdout)["ipv6_cidrs"]
    ranges = IPv6Network(cidr).subnets(new_prefix=64)  # the range is a random one of the pool, e.g. 2001:db8:13b::/56
    for number, (name, range_) in enumerate(zip(("six", "mixed", "open"), ranges, strict=False)):
        shop("route-table", "create", f"{name}-table", "--vpc", "shop")
        shop("subnet", "create", name, "--vpc", "shop", "--cidr", f"10.0.{60 + number}.0/24", "--ipv6-cidr", str(range_))
        shop("route-table", "associate", f"{name}-table", name)
        shop("instance", "run", f"i-{name}", "--subnet", f"shop/{name}", "--host", "hv1", "--no-wait", "--security-group", "web")
    shop("sg", "rule", "add", "web", "ingress", "tcp", "443", "--source", "::/0")
    return shop


def lead(run: Run) -> None:
    """Create the gateway, and the routes of the tables."""
    run("eigw", "create", "away", "--vpc", "shop")
    for table, destination, target in (
        ("six", "::/0", "eigw"),
        ("mixed", "::/0", "eigw"),
        ("mixed", FRIEND, "igw"),
        ("open", "::/0", "igw"),
    ):
        run("route-table", "route", "add", f"{table}-table", destination, "via", target)


def address(run: Run, name: str) -> str:
    return str(json.loads(run("instance", "show", name, "-o", "json").stdout)["ipv6_address"])


def test_a_packet_leaves_through_the_gateway_and_the_answer_comes_by_either_edge(six: Run) -> None:
    lead(six)
    said = traced(six, "i-six", SERVER)
    assert (said["reachable"], said["disagreement"]) == (True, "")
    sent = [(hop["host"], hop["place"]) for hop in said["model"]["hops"] if hop["host"] != "hv1"]
    first = sent[0][0]
    there = ("verify", "inlet", "egress-only", "gateway", "gateway", "outside", "uplink")
    assert sent == [(first, place) for place in there]
    out = six("trace", "i-six", SERVER).stdout
    assert all(f"the answer, if it comes through {edge}" in out for edge in ("e1", "e2"))


def test_nobody_begins_anything_from_outside(six: Run) -> None:
    lead(six)
    said = traced(six, SERVER, address(six, "i-six"), code=2)
    assert (said["code"], said["model"]["hops"][-1]["place"]) == ("EIGW_REQUIRES_SOURCE_IN_VPC", "egress-only")
    assert "internet gateway" in said["fix"]
    assert traced(six, SERVER, "i-six", code=2)["code"] == "EIGW_REQUIRES_SOURCE_IN_VPC"
    traced(six, SERVER, address(six, "i-open"))
    traced(six, "2001:4860:2::7", address(six, "i-mixed"))
    assert traced(six, SERVER, address(six, "i-mixed"), code=2)["code"] == "EIGW_REQUIRES_SOURCE_IN_VPC"


def test_what_is_missing_is_told_with_the_commands_that_repair_it(six: Run) -> None:
    six("eigw", "create", "away", "--vpc", "shop")
    said = traced(six, "i-six", SERVER, code=2)
    assert said["code"] == "NO_ROUTE_TO_DESTINATION"
    assert said["fix"] == "netorch --owner acme route-table route add acme/shop/six-table ::/0 via eigw"
    six(*said["fix"].split()[3:])
    traced(six, "i-six", SERVER)
    six("eigw", "delete", "away")
    said = traced(six, "i-six", SERVER, code=2)
    assert said["code"] == "BAD_STATE_ROUTE"
    create, replace = said["fix"].split(" && ")
    assert create == "netorch --owner acme eigw create shop --vpc acme/shop"
    six(*create.split()[3:])
    six(*replace.split()[3:])
    traced(six, "i-six", SERVER)


def test_a_range_of_the_customers_own_is_carried_by_neither_gateway(shop: Run) -> None:
    shop("vpc", "associate-cidr", "shop", "2001:db8:ff00::/56")
    shop("subnet", "create", "own", "--vpc", "shop", "--cidr", "10.0.70.0/24", "--ipv6-cidr", "2001:db8:ff00::/64")
    shop("instance", "run", "i-own", "--subnet", "shop/own", "--host", "hv1", "--no-wait")
    shop("eigw", "create", "away", "--vpc", "shop")
    for target in ("eigw", "igw"):
        shop("route-table", "route", "add" if target == "eigw" else "replace", "main", "::/0", "via", target)
        said = traced(shop, "i-own", SERVER, code=2)
        assert said["code"] == "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS"
        assert said["fix"] == "netorch --owner acme vpc associate-cidr acme/shop --provided-ipv6"


def test_reach_counts_flows_out_through_it_and_none_in(six: Run) -> None:
    lead(six)
    flows = json.loads(six("reach", "--matrix", "--vpc", "shop", "-o", "json").stdout)
    found = {
        (",".join(flow["sources"]), ",".join(flow["destinations"]), ",".join(flow["through"]), flow["code"])
        for flow in flows
        if flow["version"] == 6 and "internet" in f"{flow['sources']}{flow['destinations']}"
    }
    assert found == {
        ("i-six", "internet", "eigw", ""),
        ("i-mixed", "internet", "eigw", ""),
        ("i-mixed", f"internet {FRIEND}", "", ""),
        (f"internet {FRIEND}", "i-mixed", "", ""),
        ("i-open", "internet", "", ""),
        ("internet", "i-open", "", ""),
    }
