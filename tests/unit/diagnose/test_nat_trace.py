"""`trace` through a NAT gateway: every hop, and a code and a repair command for every reason that stops a packet there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import Run
from tests.unit.diagnose.conftest import PUBLIC, SERVER, traced


def places(way: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the hosts and places of a path."""
    return [(hop["host"], hop["place"]) for hop in way["hops"]]


def test_a_packet_passes_the_gateway_and_leaves_in_its_name(shop: Run) -> None:
    said = traced(shop, "a1", SERVER)
    first = said["model"]["hops"][-1]["host"]
    assert (said["reachable"], said["disagreement"]) == (True, "")
    sent = [(host, place) for host, place in places(said["model"]) if host != "hv1"]
    assert sent == [
        (first, place) for place in ("verify", "inlet", "nat", "zone", "route", "policy", "gateway", "outside", "uplink")
    ]
    texts = [hop["said"] for hop in said["model"]["hops"]]
    assert [text.partition(": ")[2] for text in texts if "becomes" in text] == [
        "source 10.0.1.5:49152 becomes 10.0.9.9:49152",
        f"source 10.0.9.9 becomes {PUBLIC}",
    ]
    assert said["answer"]["edges"] == ["e1", "e2"]


def test_of_several_addresses_the_trace_names_the_one_that_the_gateway_chooses(shop: Run) -> None:
    """Both ends determine the address; the reply finds its way back from each."""
    second = json.loads(shop("address", "allocate", "--name", "second", "-o", "json").stdout)
    shop("nat", "associate-address", "out", second["id"])
    shown = json.loads(shop("nat", "show", "out", "-o", "json").stdout)["addresses"]
    publics = {found["private_address"]: found["public_address"] for found in shown}
    seen = set()
    for number in range(10, 16):
        said = traced(shop, "a1", f"203.0.113.{number}")
        texts = [hop["said"].rpartition(" ")[2] for hop in said["model"]["hops"] if "becomes" in hop["said"]]
        private, public = texts[0].partition(":")[0], texts[1]
        assert (said["reachable"], publics[private]) == (True, public)
        seen.add(public)
    assert seen == {PUBLIC, second["address"]}


def test_the_answer_comes_back_to_the_instance_by_either_edge(shop: Run) -> None:
    for service in ("tcp/443", "udp/53", "icmp"):
        out = shop("trace", "a1", SERVER, service).stdout
        assert "the answer, if it comes through e1:" in out
        assert "the answer, if it comes through e2, arrives" in out
        assert "destination 10.0.9.9" in out


def test_other_protocols_are_none_of_a_nat_gateways(shop: Run) -> None:
    for service in ("47", "132", "50"):
        said = traced(shop, "a1", SERVER, service, code=2)
        assert (said["code"], said["model"]["hops"][-1]["place"]) == ("PROTOCOL_RESTRICTION", "nat")
        assert "public address" in said["fix"]


def test_nobody_opens_anything_to_a_nat_gateway(shop: Run) -> None:
    for source, destination in (
        ("internet", PUBLIC),
        ("a1", PUBLIC),
        ("a1", "10.0.9.9"),
        ("front", "10.0.9.9"),
        ("front", PUBLIC),
    ):
        for service in ("tcp/22", "udp/5000", "icmp"):
            said = traced(shop, source, destination, service, code=2)
            assert (said["code"], said["model"]["hops"][-1]["place"]) == ("NGW_REQUIRES_SOURCE_IN_VPC", "nat")


def test_what_a_gateway_reaches_by_another_public_address_comes_back_through_it(shop: Run) -> None:
    """The instance with the other public address is in the same VPC."""
    front = json.loads(shop("instance", "show", "front", "-o", "json").stdout)["public_address"]
    said = traced(shop, "a1", front)
    assert said["reachable"]
    assert [hop["place"] for hop in said["answer"]["model"]["hops"]].count("nat") == 1


def repaired(run: Run, codes: Sequence[str], service: str = "tcp/443") -> None:
    """Check that the internet is unreachable for these reasons, in turn, and that each printed command repairs its reason."""
    for expected in codes:
        said = traced(run, "a1", SERVER, service, code=2)
        assert said["code"] == expected, said
        for command in said["fix"].split(" && "):
            run(*shlex.split(command.removeprefix("netorch --owner acme ")))
    assert traced(run, "a1", SERVER, service)["reachable"]


def test_without_a_route_the_gateway_that_there_is_is_named(shop: Run) -> None:
    shop("route-table", "route", "delete", "private", "0.0.0.0/0")
    repaired(shop, ["NO_ROUTE_TO_DESTINATION"])
    assert any(hop["place"] == "nat" for hop in traced(shop, "a1", SERVER)["model"]["hops"])


def test_a_gateway_whose_subnet_has_no_way_out_is_named(shop: Run) -> None:
    shop("route-table", "route", "delete", "public", "0.0.0.0/0")
    said = traced(shop, "a1", SERVER, code=2)
    assert "nat-out sends by the route table of its own subnet" in said["sentence"]
    assert said["fix"] == "netorch --owner acme route-table route add acme/shop/public 0.0.0.0/0 via igw"
    repaired(shop, ["NO_ROUTE_TO_DESTINATION"])


def test_a_gateway_whose_subnet_leads_to_nothing_is_named(shop: Run) -> None:
    shop("route-table", "route", "replace", "public", "0.0.0.0/0", "blackhole")
    repaired(shop, ["BAD_STATE_ROUTE"])


def inner_gateway(shop: Run) -> None:
    """Make a gateway in the private subnet, and route that subnet's table to it."""
    shop("address", "allocate", "--name", "second")
    shop("nat", "create", "two", "--subnet", "app", "--elastic-ip", "second")
    shop("route-table", "route", "replace", "private", "0.0.0.0/0", "nat-two")


def test_a_gateway_whose_subnet_leads_to_itself_gives_way_to_one_that_reaches_the_internet(shop: Run) -> None:
    inner_gateway(shop)
    said = traced(shop, "a1", SERVER, code=2)
    assert "its own subnet, which leads to a NAT gateway instead of the internet gateway" in said["sentence"]
    assert said["fix"] == "netorch --owner acme route-table route replace acme/shop/private 0.0.0.0/0 via nat-out"
    repaired(shop, ["BAD_STATE_ROUTE"])


def test_a_gateway_whose_subnet_leads_to_itself_is_made_where_the_route_table_leads_out(shop: Run) -> None:
    inner_gateway(shop)
    shop("nat", "delete", "out")
    fix = traced(shop, "a1", SERVER, code=2)["fix"]
    assert "nat create two-public --subnet acme/shop/pub --elastic-ip eipalloc-" in fix, "the address of the other one is idle"
    repaired(shop, ["BAD_STATE_ROUTE"])


def test_without_a_subnet_that_leads_out_the_trace_says_which_one_a_gateway_needs(shop: Run) -> None:
    inner_gateway(shop)
    shop("route-table", "route", "delete", "public", "0.0.0.0/0")
    fix = traced(shop, "a1", SERVER, code=2)["fix"]
    assert fix.startswith("create the NAT gateway in a subnet whose route table leads to the internet gateway: netorch ")


@pytest.mark.parametrize(
    ("direction", "entry"),
    [
        ("ingress", "deny tcp 443 --cidr 10.0.1.0/24"),  # from instances
        ("egress", "deny tcp 443 --cidr 203.0.113.0/24"),  # to the internet
        ("ingress", "deny tcp 1024-65535 --cidr 203.0.113.0/24"),  # replies from the internet
        ("egress", "deny tcp 1024-65535 --cidr 10.0.1.0/24"),  # replies to instances
    ],
)
def test_the_acl_of_its_subnet_is_asked_four_times(shop: Run, direction: str, entry: str) -> None:
    shop("nacl", "rule", "add", "border", direction, "5", *shlex.split(entry))
    said = traced(shop, "a1", SERVER, code=2)
    assert (said["rule"], "subnet of nat-out" in said["sentence"]) == ("5", True)
    repaired(shop, ["SUBNET_ACL_RESTRICTION"])


def test_a_gateway_that_is_gone_leaves_a_black_hole(shop: Run) -> None:
    shop("nat", "delete", "out")
    said = traced(shop, "a1", SERVER, code=2)
    assert said["code"] == "BAD_STATE_ROUTE"
    assert "of route table private leads to nothing" in said["sentence"]


def test_the_interface_of_a_gateway_sends_nothing_of_its_own(shop: Run) -> None:
    eni = json.loads(shop("nat", "show", "out", "-o", "json").stdout)["eni"]
    assert "the interface of a NAT gateway" in shop("trace", eni, SERVER, code=1).stderr
    assert traced(shop, "internet", eni, code=2)["code"] == "NGW_REQUIRES_SOURCE_IN_VPC"


PEERS = """
vpcs:
- name: branch
  owner: acme
  cidrs: [10.7.0.0/16]
  route_tables: [{name: main}]
  subnets: [{name: app, cidr: 10.7.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances: [{name: b1, host: hv1, subnet: app, address: 10.7.1.5, security_groups: [open]}]
"""


def test_a_peer_does_not_reach_the_internet_through_the_gateway(shop: Run, tmp_path: Path) -> None:
    (tmp_path / "peer.yaml").write_text(PEERS)
    shop("apply", "-f", "peer.yaml", "--yes")
    made = json.loads(shop("peering", "request", "join", "--vpc", "branch", "--peer", "shop", "-o", "json").stdout)
    shop("peering", "accept", made["id"])
    for table, cidr in (("branch/main", "0.0.0.0/0"), ("branch/main", "10.0.0.0/16"), ("shop/private", "10.7.0.0/16")):
        shop("route-table", "route", "add", table, cidr, "via", made["id"])
    assert traced(shop, "branch/b1", SERVER, code=2)["code"] == "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR"
    assert traced(shop, "branch/b1", "10.0.9.9", code=2)["code"] == "NO_MAPPING"


def test_a_host_that_hears_no_edge_is_told_so(shop: Run, tmp_path: Path) -> None:
    status = AgentStatus(version="1", pid=1, started_at=0.0, silent=("192.0.2.21", "192.0.2.22"))
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn([], [Put(keys.agent_status("hv1"), msgspec.json.encode(status))])
    assert traced(shop, "a1", SERVER, code=2)["code"] == "NO_EDGE_ANSWERS"
    assert traced(shop, "a2", SERVER)["reachable"]
