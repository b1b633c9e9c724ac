"""`reach` through a NAT gateway: outbound flows only; it agrees with `trace` packet by packet."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.diagnose.conftest import PUBLIC, SERVER, traced

Line = tuple[str, str, str, str, str]  # from, to, services, through, code
BORDERS = [
    ("ingress", "deny tcp 443 --cidr 10.0.1.5/32"),
    ("egress", "deny tcp 443 --cidr 203.0.113.0/24"),
    ("ingress", "deny udp 1024-65535 --cidr 203.0.113.0/24"),
    ("egress", "deny all --cidr 10.0.1.0/24"),
    ("egress", "deny icmp --cidr 0.0.0.0/0"),
]
SERVICES = ("tcp/443", "tcp/80", "udp/53", "icmp", "47")


def by_internet(run: Run) -> set[Line]:
    """Return the lines of the matrix with the internet as an end."""
    flows = json.loads(run("reach", "--matrix", "--vpc", "shop", "-o", "json").stdout)
    lines = {
        (
            ",".join(flow["sources"]),
            ",".join(flow["destinations"]),
            ";".join(flow["services"]),
            ",".join(flow["through"]),
            flow["code"],
        )
        for flow in flows
    }
    return {line for line in lines if "internet" in f"{line[0]} {line[1]}"}


def opens(lines: set[Line], name: str, service: str) -> bool:
    """Return whether an instance opens a service to the server: by the line of its range, or else by that of all ranges."""
    mine = {line[1]: line for line in lines if name in line[0].split(",")}
    line = mine.get("internet 203.0.113.0/24") or mine.get("internet")
    if line is None or line[4]:
        return False
    protocol, _, port = service.partition("/")
    for text in line[2].split(";"):
        word, _, spans = text.partition(" ")
        if word == "all" or (word == protocol and not spans):
            return True
        if word == protocol:
            found = [span.partition("-") for span in spans.split(",")]
            return any(int(first) <= int(port or 8) <= int(last or first) for first, _, last in found)
    return False


def test_flows_go_out_through_the_gateway_and_none_comes_in(shop: Run) -> None:
    assert by_internet(shop) == {
        ("a1,a2", "internet", "icmp;tcp;udp", "nat-out", ""),
        ("front", "internet", "all", "", ""),
        ("internet", "front", "tcp 443", "", ""),
    }


@pytest.mark.parametrize(("direction", "entry"), BORDERS)
def test_reach_says_what_trace_finds(shop: Run, direction: str, entry: str) -> None:
    shop("nacl", "rule", "add", "border", direction, "5", *shlex.split(entry))
    lines = by_internet(shop)
    for name in ("a1", "a2"):
        for service in SERVICES:
            said = json.loads(shop_trace(shop, name, service))
            assert opens(lines, name, service) == said["reachable"], (name, service, lines)


def shop_trace(run: Run, name: str, service: str) -> str:
    """Return the output of a trace to the server, whether it succeeds or fails."""
    try:
        return run("trace", name, SERVER, service, "-o", "json").stdout
    except AssertionError:
        return run("trace", name, SERVER, service, "-o", "json", code=2).stdout


def test_what_routes_drop_behind_the_gateway_has_their_code(shop: Run) -> None:
    shop("route-table", "route", "replace", "public", "0.0.0.0/0", "blackhole")
    assert ("a1,a2", "internet", "icmp;tcp;udp", "nat-out", "BAD_STATE_ROUTE") in by_internet(shop)
    shop("route-table", "route", "delete", "public", "0.0.0.0/0")
    assert ("a1,a2", "internet", "icmp;tcp;udp", "nat-out", "NO_ROUTE_TO_DESTINATION") in by_internet(shop)


def test_a_public_address_behind_a_nat_gateway_is_not_reached(shop: Run) -> None:
    """Replies to packets for that address leave through the NAT gateway, which does not know the connection."""
    shop("address", "allocate", "--name", "own")
    shop("address", "associate", "own", "--instance", "a1")
    assert ("internet", "a1", "tcp 443", "", "ASYMMETRIC_ROUTES") in by_internet(shop)
    shop("sg", "rule", "add", "web", "ingress", "udp", "443", "--source", "0.0.0.0/0")
    for service in ("tcp/443", "udp/443"):
        said = traced(shop, "internet", "a1", service, code=2)
        assert said["code"] == "ASYMMETRIC_ROUTES"
        assert said["fix"].endswith("route replace acme/shop/private 0.0.0.0/0 via igw")
    assert PUBLIC in shop("trace", "a1", SERVER).stdout


def test_a_file_that_takes_the_gateways_route_closes_flows(shop: Run, tmp_path: Path) -> None:
    (tmp_path / "less.yaml").write_text(shop("export").stdout.replace("0.0.0.0/0 via nat-out", "0.0.0.0/0 via blackhole"))
    assert "- acme/shop  a1, a2 -> internet: icmp; tcp; udp" in shop("reach", "--diff", "-f", "less.yaml", code=2).stdout


def test_ipv6_addresses_out_of_a_pool_are_ends_too(shop: Run, quick: Run) -> None:
    quick("address", "pool", "add", "west", "2001:db8:100::/40")
    made = json.loads(shop("vpc", "associate-cidr", "shop", "--provided-ipv6", "-o", "json").stdout)
    (cidr,) = made["ipv6_cidrs"]
    shop("subnet", "create", "six", "--vpc", "shop", "--cidr", "10.0.6.0/24", "--ipv6-cidr", cidr.replace("/56", "/64"))
    shop("instance", "run", "i6", "--subnet", "shop/six", "--host", "hv1", "--no-wait", "--security-group", "web")
    assert {line[4] for line in by_internet(shop) if "i6" in line[0]} == {"NO_ROUTE_TO_DESTINATION"}
    shop("route-table", "associate", "public", "six")
    shop("route-table", "route", "add", "public", "::/0", "via", "igw")
    flows = json.loads(shop("reach", "--matrix", "--vpc", "shop", "-o", "json").stdout)
    six = [(f["sources"], f["destinations"], f["code"]) for f in flows if f["version"] == 6]
    assert six == [(["i6"], ["internet"], "")]
    shop("sg", "rule", "add", "web", "ingress", "tcp", "443", "--source", "::/0")
    flows = json.loads(shop("reach", "--matrix", "--vpc", "shop", "-o", "json").stdout)
    assert any(f["version"] == 6 and f["sources"] == ["internet"] and f["services"] == ["tcp 443"] for f in flows)
    traced(shop, "2001:db8:99::10", json.loads(shop("instance", "show", "i6", "-o", "json").stdout)["ipv6_address"])
