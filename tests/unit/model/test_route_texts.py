"""Routes as users write them, and targets as they are stored."""

from __future__ import annotations

import pytest

from netorch.model.routing.target import LOCAL, TargetKind, target_of
from netorch.model.routing.text import RouteWords, parse_route
from netorch.model.rules import Violation

FW, PCX, IGW, NAT, VGW, VPCE = (
    f"{kind}-0013880000000000{n}" for n, kind in enumerate(("eni", "pcx", "igw", "nat", "vgw", "vpce"), 1)
)
S3 = "pl-00138800000000001"


@pytest.mark.parametrize("text", ["local", "blackhole", FW, PCX, IGW, NAT, VGW, VPCE])
def test_a_stored_target_is_read_and_written_alike(text: str) -> None:
    assert str(target_of(text)) == text


@pytest.mark.parametrize("text", ["", "eni", "eni-1", "local-1", "sg-00138800000000001", f"{FW}0", "ENI-00138800000000001"])
def test_a_stored_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        target_of(text)


def test_local_is_one_target() -> None:
    assert target_of("local") is LOCAL


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0.0.0/0 via igw", RouteWords("0.0.0.0/0", TargetKind.INTERNET_GATEWAY)),
        ("::/0 via eigw", RouteWords("::/0", TargetKind.EGRESS_ONLY_GATEWAY)),
        ("192.168.0.0/16 via vgw", RouteWords("192.168.0.0/16", TargetKind.VPN_GATEWAY)),
        ("10.9.0.0/16 via pcx-b", RouteWords("10.9.0.0/16", TargetKind.PEERING, "b")),
        ("10.9.0.0/16 via pcx-b-2", RouteWords("10.9.0.0/16", TargetKind.PEERING, "b-2")),
        ("0.0.0.0/0 via nat-out", RouteWords("0.0.0.0/0", TargetKind.NAT_GATEWAY, "out")),
        ("pl-s3 via vpce-s3", RouteWords("pl-s3", TargetKind.ENDPOINT, "s3")),
        ("10.44.13.0/24 via eni fw-1", RouteWords("10.44.13.0/24", TargetKind.INTERFACE, "fw-1")),
        (f"10.44.13.0/24 via {FW}", RouteWords("10.44.13.0/24", TargetKind.INTERFACE, FW)),
        (f"{S3} via {VPCE}", RouteWords(S3, TargetKind.ENDPOINT, VPCE)),
        (f"0.0.0.0/0 via {IGW}", RouteWords("0.0.0.0/0", TargetKind.INTERNET_GATEWAY, IGW)),
        ("10.44.0.0/16 via local", RouteWords("10.44.0.0/16", TargetKind.LOCAL)),
        ("192.0.2.0/24 via blackhole", RouteWords("192.0.2.0/24", TargetKind.BLACKHOLE)),
    ],
)
def test_a_route_is_read_and_written_alike(text: str, words: RouteWords) -> None:
    assert parse_route(text) == words
    assert str(words) == text


def test_a_route_has_one_spelling() -> None:
    assert str(parse_route("  2001:DB8:0::/32   via  eni   fw-1 ")) == "2001:db8::/32 via eni fw-1"


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("0.0.0.0/0", "'0.0.0.0/0' is not a route", "write DESTINATION via TARGET, e.g. 0.0.0.0/0 via eni fw-1"),
        ("", "'' is not a route", "write DESTINATION via TARGET"),
        ("0.0.0.0/0 igw", "'0.0.0.0/0 igw' is not a route", "write DESTINATION via TARGET"),
        ("default via igw", "'default' is not a destination", "write a CIDR, e.g. 0.0.0.0/0, or pl- and a prefix list's name"),
        ("10.0.0.1/16 via igw", "10.0.0.1/16 has host bits set", "write 10.0.0.0/16"),
        ("10.0.0.0/16 via ", "'10.0.0.0/16 via ' is not a route", "write DESTINATION via TARGET"),
        ("pl- via igw", "'pl-' names no prefix list", "write pl- and its name"),
        ("0.0.0.0/0 via eni", "'eni' names no interface", "write eni and an instance's name"),
        ("0.0.0.0/0 via eni-fw", "'eni-fw' is not the id of an interface", "write eni fw, or an id"),
        ("0.0.0.0/0 via pcx", "'pcx' names no target", "write pcx- and its name"),
        ("0.0.0.0/0 via pcx-", "'pcx-' is not a target", "write igw, eigw, vgw, nat- and a NAT gateway's name"),
        ("0.0.0.0/0 via pcx b", "'pcx b' is not a target", "write igw, eigw, vgw, nat-"),
        ("0.0.0.0/0 via igw-main", "'igw-main' has a name, and a VPC has at most one igw", "write igw"),
        ("0.0.0.0/0 via local-1", "'local-1' is not a target", "write igw, eigw, vgw, nat-"),
        ("0.0.0.0/0 via 10.0.0.1", "'10.0.0.1' is not a target", "write igw, eigw, vgw, nat-"),
        ("0.0.0.0/0 via IGW", "'IGW' is not a target", "write igw, eigw, vgw, nat-"),
    ],
)
def test_a_text_that_is_no_route_is_answered_with_what_to_write(text: str, what: str, fix: str) -> None:
    violation = parse_route(text)
    assert isinstance(violation, Violation)
    assert violation.what == what
    assert violation.fix.startswith(fix)
