"""`trace` to services and mapped peers: every hop shows its translations, and each refusal has a code and a command."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netorch.model.status import ConnectionUse
from netorch.records import keys
from netorch.store.base import Delete, Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.diagnose.conftest import traced
from tests.unit.diagnose.services.conftest import SERVICE, Cloud

A, LONE = "acme/acme/one", "acme/acme/lone"


def hops(said: dict[str, Any], way: str = "there") -> list[str]:
    """Return the text of each hop of a packet, or of its reply."""
    walk = said["model"] if way == "there" else said["answer"]["model"]
    return [f"{hop['host']} {hop['place']}: {hop['said']}" for hop in walk["hops"]]


def places(said: dict[str, Any], way: str = "there") -> list[str]:
    return [text.split()[1].rstrip(":") for text in hops(said, way)]


def refused(cloud: Cloud, source: str, destination: str, service: str, code: str) -> dict[str, Any]:
    """Return the output of a trace that fails, after checking its code."""
    said = traced(cloud.run, source, destination, service, code=2)
    assert (said["code"], said["reachable"], said["disagreement"]) == (code, False, ""), said
    return said


def repaired(cloud: Cloud, source: str, destination: str, service: str, code: str) -> dict[str, Any]:
    """Like `refused`, and check that the printed commands repair it."""
    said = refused(cloud, source, destination, service, code)
    for command in said["fix"].split(" && "):
        cloud.run(*shlex.split(command.removeprefix("netorch ")))
    assert traced(cloud.run, source, destination, service)["reachable"]
    return said


def test_a_gateway_endpoint_answers_at_the_edge_and_its_answer_is_followed(cloud: Cloud) -> None:
    said = traced(cloud.run, A, SERVICE, "tcp/80")
    assert said["reachable"]
    assert places(said)[-1] == "service"
    assert "answered by the host: proxy dev vrf" in hops(said)[-1]
    assert "checks each request against policies" in hops(said)[-1]
    assert places(said, "answer") == ["service", "tunnel", "verify", "zone", "route", "policy", "delivery"]


def test_what_a_gateway_endpoint_does_not_take(cloud: Cloud) -> None:
    for service in ("tcp/22", "udp/80", "icmp"):
        assert places(refused(cloud, A, SERVICE, service, "VPCE_SERVES_HTTP_AND_TLS_ONLY"))[-1] == "service"
    assert "endpoint modify vpce-" in repaired(cloud, LONE, SERVICE, "tcp/80", "NO_ROUTE_TO_DESTINATION")["fix"]


def test_an_acl_that_stops_the_answers_of_a_service_is_named(cloud: Cloud) -> None:
    cloud.run(*shlex.split("nacl rule add acme/acme/border ingress 5 deny tcp 1024-65535 --cidr 198.19.0.0/24"))
    said = repaired(cloud, A, SERVICE, "tcp/443", "SUBNET_ACL_RESTRICTION")
    assert "is reached, but its answer is lost on host hv1" in said["sentence"]


def test_an_endpoint_at_which_nobody_listens_is_told(cloud: Cloud, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.txn((), [Delete(keys.service("s3"))])
    said = refused(cloud, A, SERVICE, "tcp/80", "SERVICE_NOT_LISTENING")
    assert "netorch status" in said["fix"]


@pytest.mark.parametrize(
    ("address", "service", "what"),
    [
        ("169.254.169.253", "udp/53", "names dev vrf"),
        ("10.0.0.2", "tcp/53", "names dev vrf"),
        ("169.254.169.254", "tcp/80", "metadata dev vrf"),
    ],
)
def test_the_own_host_answers_for_names_and_metadata(cloud: Cloud, address: str, service: str, what: str) -> None:
    said = traced(cloud.run, A, address, service)
    assert (said["reachable"], said["rule"], said["rules"]) == (True, "", {})  # no rule of the customer is evaluated
    assert f"host: answered by the host: {what}" in hops(said)[-1]
    assert said["answer"]["model"]["hops"] == []


def test_what_the_own_host_does_not_answer(cloud: Cloud) -> None:
    for address, service in (("169.254.169.253", "tcp/80"), ("169.254.169.254", "udp/53"), ("10.0.0.2", "icmp")):
        assert places(refused(cloud, A, address, service, "NOT_SERVED_THERE"))[-1] == "host"
    cloud.run("vpc", "modify", "acme/acme", "--no-dns-support")
    traced(cloud.run, A, "169.254.169.253", "udp/53", code=2)
    assert traced(cloud.run, A, "169.254.169.254", "tcp/80")["reachable"]


@pytest.mark.parametrize("destination", ["globex/globex/two", "100.65.1.6"])
def test_a_mapped_connection_says_what_becomes_what(cloud: Cloud, destination: str) -> None:
    """Both VPCs have 10.0.1.5 and 10.0.1.6; rules are evaluated with the receiver's addresses."""
    said = traced(cloud.run, A, destination)
    assert said["reachable"]
    there, back = (
        [text.partition(": ")[2].partition(": ")[2] for text in hops(said, way) if " peering: " in text] for way in WAYS
    )
    assert there == [
        "source 10.0.1.5 becomes 100.66.1.5 (10.0.0.0/16 is 100.66.0.0/16)",
        "destination 100.65.1.6 becomes 10.0.1.6 (100.65.0.0/16 is 10.0.0.0/16)",
    ]
    assert back == [
        "source 10.0.1.6 becomes 100.65.1.6 (10.0.0.0/16 is 100.65.0.0/16)",
        "destination 100.66.1.5 becomes 10.0.1.5 (100.66.0.0/16 is 10.0.0.0/16)",
    ]
    assert said["rules"]["ingress"].startswith("ingress: ACL border entry 10, group web sgr-")


WAYS = ("there", "answer")


def test_what_a_mapped_connection_does_not_carry(cloud: Cloud) -> None:
    said = refused(cloud, A, "100.65.1.99", "tcp/443", "NO_MAPPING")
    assert said["fix"] == "see which interface has which address: netorch map list --vpc globex/globex"
    said = repaired(cloud, A, "100.65.1.6", "tcp/22", "ENI_SG_RULES_MISMATCH")
    assert "group web of globex/globex/two has no ingress rule that permits tcp/22 from 100.66.1.5" in said["sentence"]


def test_a_mapped_connection_needs_routes_on_both_sides(cloud: Cloud) -> None:
    said = repaired(cloud, A, "globex/globex/lone", "tcp/443", "NO_ROUTE_TO_DESTINATION")
    assert " route-table route add globex/globex/closed 100.66.0.0/16 via pcx-" in said["fix"]
    said = repaired(cloud, LONE, "globex/globex/one", "tcp/443", "NO_ROUTE_TO_DESTINATION")
    assert " route-table route add acme/acme/closed 100.65.0.0/16 via pcx-" in said["fix"]


def test_what_is_outside_of_the_mapped_range_is_told_so(cloud: Cloud) -> None:
    cloud.run("peering", "delete", "acme/acme/to-globex")
    ranges = "--map-own 10.0.1.0/24=100.66.1.0/24 --map-peer 10.0.1.0/24=100.65.1.0/24"
    made = cloud.run(*shlex.split(f"peering request narrow --vpc acme/acme --peer globex/globex {ranges} -o json")).stdout
    connection = json.loads(made)["id"]
    cloud.run("peering", "accept", connection)
    for table, alias in (("acme/acme/main", 65), ("acme/acme/closed", 65), ("globex/globex/main", 66)):
        cloud.run(*shlex.split(f"route-table route add {table} 100.{alias}.1.0/24 via {connection}"))
    assert traced(cloud.run, A, "globex/globex/one")["reachable"]
    said = refused(cloud, A, "globex/globex/lone", "tcp/443", "PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE")
    assert "10.0.2.5 is outside 10.0.1.0/24" in said["sentence"]
    said = refused(cloud, LONE, "100.65.1.5", "tcp/443", "PCX_REQUIRES_ADDRESS_IN_MAPPED_RANGE")
    assert (places(said)[-1], "10.0.2.5 to 100.65.1.5 is not between" in said["sentence"]) == ("peering", True)


def test_only_who_sees_both_vpcs_follows_packets_to_a_mapped_peer(cloud: Cloud) -> None:
    error = cloud.run("--owner", "acme", "trace", A, "100.65.1.6", "tcp/443", code=1).stderr
    assert "only the owner of both VPCs or the operator can follow it" in error


def test_an_interface_endpoint_says_what_it_translates(cloud: Cloud) -> None:
    said = traced(cloud.run, A, cloud.front)
    assert said["reachable"]
    (there,), (back,) = ([text for text in hops(said, way) if " endpoint: " in text] for way in WAYS)
    source, destination = there.partition(f"endpoint: {cloud.connection}: ")[2].split(", ")
    assert source == f"source 10.0.1.5:49152 becomes {cloud.back}:49152"
    target = destination.removeprefix(f"destination {cloud.front}:443 becomes ")
    assert target in ("10.0.1.5:8443", "10.0.1.6:8443")
    assert back.endswith(f"source {target} becomes {cloud.front}:443, destination {cloud.back}:49152 becomes 10.0.1.5:49152")
    assert said["rules"]["ingress"].startswith("ingress: ACL border entry 10, group web sgr-")


def test_each_port_of_a_sender_leads_to_one_target(cloud: Cloud) -> None:
    targets = set()
    for sender in ("one", "two"):
        said = traced(cloud.run, f"acme/acme/{sender}", cloud.front)
        targets.add(next(text.rpartition(" becomes ")[2] for text in hops(said) if " endpoint: " in text))
    assert targets <= {"10.0.1.5:8443", "10.0.1.6:8443"}


def test_what_an_interface_endpoint_does_not_take(cloud: Cloud) -> None:
    said = refused(cloud, LONE, cloud.front, "tcp/80", "VPCE_PORT_NOT_SERVED")
    assert (said["fix"], "ledger has tcp/443" in said["sentence"]) == ("choose tcp/443", True)
    said = refused(cloud, "bank/bank/one", cloud.back, "tcp/443", "VPCE_REQUIRES_SOURCE_IN_CONSUMER_VPC")
    assert places(said)[-1] == "endpoint"
    said = refused(cloud, A, cloud.front, "udp/443", "ENI_SG_RULES_MISMATCH")
    assert "group front of vpce-ledger has no ingress rule that permits udp/443 from 10.0.1.5" in said["sentence"]
    assert said["fix"] == "netorch sg rule add acme/acme/front ingress udp 443 --source sg-web"


def test_a_service_whose_targets_are_gone_is_named(cloud: Cloud) -> None:
    cloud.run("instance", "terminate", "bank/bank/one", "bank/bank/two")
    said = refused(cloud, A, cloud.front, "tcp/443", "VPCE_PORT_NOT_SERVED")
    assert "no target of ledger is attached to an instance" in said["sentence"]


@pytest.mark.parametrize(
    ("acl", "entry"),
    [
        ("acme", "ingress 5 deny tcp 443 --cidr 10.0.1.0/24"),  # at the endpoint
        ("bank", "egress 5 deny tcp 8443 --cidr 10.0.1.0/24"),  # at its connection, towards the target
        ("bank", "ingress 5 deny tcp 1024-65535 --cidr 10.0.1.0/24"),  # replies of the target
        ("acme", "egress 5 deny tcp 1024-65535 --cidr 10.0.1.0/24"),  # replies of the endpoint
    ],
)
def test_the_acls_of_both_ends_are_asked(cloud: Cloud, acl: str, entry: str) -> None:
    cloud.run(*shlex.split(f"nacl rule add {acl}/{acl}/border {entry}"))
    said = repaired(cloud, A, cloud.front, "tcp/443", "SUBNET_ACL_RESTRICTION")
    assert f"nacl rule add {acl}/{acl}/border" in said["fix"]


def test_a_connection_that_nobody_has_accepted_is_named(cloud: Cloud) -> None:
    cloud.run("endpoint-service", "connection", "reject", cloud.connection)
    said = refused(cloud, A, cloud.front, "tcp/443", "VPCE_CONNECTION_NOT_AVAILABLE")
    assert (said["sentence"], cloud.connection in said["fix"]) == (
        f"{cloud.front} is endpoint ledger: its connection is rejected",
        True,
    )


def test_a_consumer_sees_nothing_of_the_provider(cloud: Cloud) -> None:
    out = cloud.run("--owner", "acme", "trace", A, cloud.front, "tcp/443").stdout
    assert "is handed over to the provider" in out
    said = json.dumps(traced(lambda *words, code=0: cloud.run("--owner", "acme", *words, code=code), A, cloud.front))
    assert "8443" not in said
    assert "bank" not in said
    cloud.run(*shlex.split("nacl rule add bank/bank/border egress 5 deny tcp 8443 --cidr 10.0.1.0/24"))
    assert "REACHABLE" in cloud.run("--owner", "acme", "trace", A, cloud.front, "tcp/443").stdout
    said = json.loads(cloud.run("--owner", "acme", "trace", LONE, cloud.front, "tcp/80", "-o", "json", code=2).stdout)
    assert (said["code"], said["fix"]) == ("VPCE_PORT_NOT_SERVED", "ask the provider for the ports of the service")


def test_what_is_relayed_ends_at_the_endpoint_and_its_answer_comes_back(cloud: Cloud) -> None:
    cloud.run("endpoint-service", "modify", cloud.service, "--proxy-protocol")
    said = traced(cloud.run, A, cloud.front)
    assert said["reachable"]
    assert hops(said)[-1].endswith(f"10.0.1.5:49152 to {cloud.front}:443 is relayed to a target, with a PROXY header")
    assert places(said, "answer")[0] == "endpoint"
    cloud.run(*shlex.split("nacl rule add acme/acme/border egress 5 deny tcp 1024-65535 --cidr 10.0.1.0/24"))
    repaired(cloud, A, cloud.front, "tcp/443", "SUBNET_ACL_RESTRICTION")


def test_a_target_that_does_not_answer_is_passed_over(cloud: Cloud, tmp_path: Path) -> None:
    for edge in ("e1", "e2"):
        use = msgspec.json.encode(ConnectionUse(ailing=("10.0.1.5:8443",)))
        with closing(SqliteStore(tmp_path / "db")) as store:
            store.txn((), [Put(keys.connection_use(edge, cloud.connection), use)])
    for sender in ("one", "two"):
        said = traced(cloud.run, f"acme/acme/{sender}", cloud.front)
        assert any(text.endswith(" becomes 10.0.1.6:8443") for text in hops(said))


def test_vpcs_that_an_endpoint_joins_are_not_peers(cloud: Cloud) -> None:
    said = refused(cloud, A, "bank/bank/one", "tcp/8443", "DIFFERENT_VPCS")
    assert said["fix"] == f"send to the endpoint of its service: netorch trace {A} {cloud.front} tcp/PORT"
