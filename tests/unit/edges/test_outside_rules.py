"""The tables of the namespace `outside` for an uplink and pools, and their effect on packets."""

from __future__ import annotations

import msgspec
import pytest

from edges.outside_rules import BOGONS, NAMELESS, outside_tables
from netorch.control.actions.endpoints.services import create_service, delete_service
from netorch.model.addr import parse_prefix
from netorch.model.packet import Packet
from netorch.trace.codes import Code
from tests.unit.edges.internet import SERVER, Internet
from tests.unit.edges.pair import POOL, UPLINK
from tests.unit.trace.test_internet import internet

__all__ = ["internet"]

BARE = msgspec.structs.replace(UPLINK, ipv6_address="", ipv6_gateway="")


def line(word: str, *pools: str) -> str:
    """Return the line with a set's elements."""
    body = outside_tables(UPLINK, pools)[0].body
    return body[body.index(f"set {word} {{") :].split("}")[0].partition("elements = { ")[2].strip()


def test_pools_are_numbers_and_those_that_overlap_or_touch_are_one() -> None:
    assert line("quotable", "203.0.113.7/32") == "0xcb007107"
    assert line("quotable", "203.0.113.128/25", POOL, "203.0.113.0/25") == "0xc6336400-0xc63364ff, 0xcb007100-0xcb0071ff"
    assert line("quotable", "203.0.113.0/24", "203.0.113.7/32") == "0xcb007100-0xcb0071ff"
    assert line("quotable6", POOL, "2001:db8:100::/40").startswith("0x20010db8010000000000000000000000-0x20010db801ff")


def test_what_an_uplink_or_a_pair_does_not_have_is_not_mentioned() -> None:
    bodies = [table.body for table in outside_tables(BARE, ())]
    assert not [word for word in ("NETWORK", "ROUTER", "POOLS", "elements") for body in bodies if word in body]


def error(source: str, public: str, quoted: str) -> Packet:
    about = Packet(source=quoted, destination=SERVER, protocol=17, source_port=5000, destination_port=53)
    return Packet(source=source, destination=public, protocol=1, icmp_type=3, icmp_code=4, quoted=about)


@pytest.mark.parametrize("source", ["10.0.0.77", "172.31.0.1", "192.168.7.7", "100.64.0.1"])
def test_an_error_of_a_router_with_a_private_address_passes_the_edge(internet: Internet, source: str) -> None:
    public = internet.publics[0]
    found = internet.comes("e1", error(source, public, public)).there
    assert found.code is Code.INVALID_CONNECTION_STATE, "the hypervisor knows of no such packet"
    assert found.packet.source == NAMELESS
    found = internet.comes("e1", error(source, public, "203.0.113.99")).there
    assert (found.code, found.counter) == (Code.IGW_REJECTS_SPOOFED_TRAFFIC, "outside_source")


def test_an_error_from_an_address_of_the_pool_does_not(internet: Internet) -> None:
    public = internet.publics[0]
    found = internet.comes("e1", error("198.51.100.99", public, public)).there
    assert (found.code, found.counter) == (Code.IGW_REJECTS_SPOOFED_TRAFFIC, "outside_source")


@pytest.mark.parametrize(("upstream", "tls"), [(f"http://{SERVER}:9000", ""), ("http://192.0.2.80:9000", f"{SERVER}:443")])
def test_no_vpc_reaches_the_server_behind_a_gateway_service_by_its_internet_gateway(
    internet: Internet, upstream: str, tls: str
) -> None:
    assert internet.sent(0, SERVER).succeeded
    world = internet.pair.world
    create_service(world.store, world.operator, name="s3", prefixes=["198.19.0.0/24"], upstream=upstream, tls=tls)
    world.settle(5)
    for number in (0, 1):
        found = internet.sent(number, SERVER).there
        assert (found.code, found.counter) == (Code.UPSTREAM_REQUIRES_ENDPOINT, "to_upstream"), "no VPC has an endpoint here"
    assert internet.sent(0, "203.0.113.11").succeeded
    delete_service(world.store, world.operator, "s3")
    world.settle(5)
    assert internet.sent(0, SERVER).succeeded


def test_no_bogon_is_inside_another() -> None:
    prefixes = [parse_prefix(each) for each in BOGONS]
    assert [one for one in prefixes for other in prefixes if one is not other and one.overlaps(other)] == []
