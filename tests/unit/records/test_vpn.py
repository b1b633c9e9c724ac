"""Stored records of a VPN: valid and invalid ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netorch.agent.records import Records
from netorch.errors import UnreadableRecord
from netorch.model.ids import make_id
from netorch.model.mapping import Reach, ReachedPrefix
from netorch.model.outside.vpn import (
    Authentication,
    CustomerGateway,
    Tunnel,
    TunnelOptions,
    VirtualPrivateGateway,
    VpnConnection,
)
from netorch.model.routing.effective import Origin
from netorch.model.status import Sealed, SealingKey
from netorch.model.vpc import RouteTable
from netorch.records import keys
from netorch.records.codec import check_value, encode

VNI = 5000
VGW, VPN, CGW = make_id("vgw", VNI, 7), make_id("vpn", VNI, 7), make_id("cgw", 0, 7)
ONE = Tunnel(inside_cidr="169.254.10.0/30", edge="e1", address="198.18.0.21")
TWO = Tunnel(inside_cidr="169.254.10.4/30")
AWS = tuple(msgspec.structs.replace(ONE, inside_cidr=f"169.254.10.{4 * n}/30", remote=f"198.18.9.{n}") for n in (1, 2))
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PREFIX = ReachedPrefix(prefix="192.168.0.0/24", origin=Origin.VPN_BGP, as_path_length=2)
GOOD: dict[str, Any] = {
    "vgw": VirtualPrivateGateway(id=VGW, vni=VNI, name="home"),
    "cgw": CustomerGateway(id=CGW, owner="acme", name="office", address="203.0.113.1"),
    "vpn": VpnConnection(
        id=VPN,
        vni=VNI,
        name="office",
        gateway=VGW,
        customer_gateway=CGW,
        number=127,
        asn=65000,
        address="203.0.113.1",
        static=True,
        routes=("192.168.0.0/24",),
        tunnels=(ONE, TWO),
    ),
    "reach": Reach(vni=VNI, gateway=VGW, edge="e1", prefixes=(PREFIX,)),
    "sealing": SealingKey(public="A" * 43 + "="),
    "secret": Sealed(boxes={1: "AAAA", 2: "AAAA"}),
    "rtb": RouteTable(id=make_id("rtb", VNI, 7), vni=VNI, name="main", propagating=(VGW,)),
}
KEYS = {
    "vgw": keys.resource(VGW),
    "cgw": keys.owned("cgw", "acme", CGW),
    "vpn": keys.resource(VPN),
    "reach": keys.reach(VNI, VGW, "e1"),
    "sealing": keys.edge_key("e1"),
    "secret": keys.secret("e1", VPN),
    "rtb": keys.resource(make_id("rtb", VNI, 7)),
}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("vgw", {"asn": 65000 - 1000}),
    ("vgw", {"name": "a b"}),
    ("cgw", {"asn": 0}),
    ("cgw", {"address": ""}),
    ("cgw", {"address": "127.0.0.1"}),
    ("cgw", {"identity": "\x1b[2J"}),
    ("cgw", {"owner": "globex"}),
    ("vpn", {"gateway": make_id("vgw", VNI + 1, 7)}),
    ("vpn", {"customer_gateway": make_id("cgw", VNI, 7)}),
    ("vpn", {"number": 0}),
    ("vpn", {"number": 128}),
    ("vpn", {"static": False}),
    ("vpn", {"routes": ("192.168.0.0/24", "192.168.0.0/24")}),
    ("vpn", {"routes": ("192.168.0.1/24",)}),
    ("vpn", {"routes": ("fd00::/8",)}),
    ("vpn", {"local_cidr": "::/0"}),
    ("vpn", {"tunnels": (ONE,)}),
    ("vpn", {"tunnels": (ONE, ONE)}),
    ("vpn", {"tunnels": (ONE, msgspec.structs.replace(TWO, edge="e1", address="198.18.0.21"))}),
    ("vpn", {"tunnels": (ONE, msgspec.structs.replace(TWO, edge="e2"))}),
    ("vpn", {"tunnels": (ONE, msgspec.structs.replace(TWO, inside_cidr="169.254.169.252/30"))}),
    ("vpn", {"tunnels": (ONE, msgspec.structs.replace(TWO, options=TunnelOptions(replay_window=1)))}),
    ("vpn", {"tunnels": (AWS[0], TWO)}),
    ("vpn", {"tunnels": (AWS[0], msgspec.structs.replace(AWS[1], edge="e2", address="198.18.0.22"))}),
    ("vpn", {"tunnels": (AWS[0], msgspec.structs.replace(AWS[1], remote="198.18.9.1"))}),
    ("vpn", {"tunnels": (AWS[0], msgspec.structs.replace(AWS[1], remote="2001:db8::1"))}),
    ("vpn", {"tunnels": AWS, "authentication": Authentication.CERTIFICATE, "authority": PEM}),
    ("vpn", {"certificates": {"e1": PEM}}),
    ("vpn", {"authentication": Authentication.CERTIFICATE}),
    ("vpn", {"authentication": Authentication.CERTIFICATE, "authority": "no"}),
    ("vpn", {"authentication": Authentication.CERTIFICATE, "authority": PEM, "certificates": {"e1": "no"}}),
    ("reach", {"edge": "e2"}),
    ("reach", {"prefixes": (PREFIX, PREFIX)}),
    ("reach", {"prefixes": (PREFIX, ReachedPrefix(prefix="10.0.0.0/8", origin=Origin.VPN_STATIC))}),
    ("reach", {"prefixes": (ReachedPrefix(prefix="fd00::/8", origin=Origin.VPN_BGP),)}),
    ("reach", {"prefixes": (ReachedPrefix(prefix="10.0.0.0/8", origin=Origin.STATIC),)}),
    ("sealing", {"public": "AAAA"}),
    ("sealing", {"public": "no"}),
    ("secret", {"boxes": {3: "AAAA"}}),
    ("secret", {"boxes": {1: "?"}}),
    ("rtb", {"propagating": (VGW, VGW)}),
    ("rtb", {"propagating": (make_id("igw", VNI, 7),)}),
]


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_record_makes_sense(kind: str) -> None:
    check_value(KEYS[kind], GOOD[kind])


@pytest.mark.parametrize(("kind", "change"), BAD, ids=lambda value: str(value)[:40])
def test_a_record_with_one_bad_value_makes_no_sense(kind: str, change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord, match="makes no sense"):
        check_value(KEYS[kind], msgspec.structs.replace(GOOD[kind], **change))


def test_a_certificate_makes_sense_with_its_authority() -> None:
    change = {"authentication": Authentication.CERTIFICATE, "authority": PEM, "certificates": {"e1": PEM * 2}}
    check_value(KEYS["vpn"], msgspec.structs.replace(GOOD["vpn"], **change))


def test_both_tunnels_to_aws_end_at_one_edge_or_at_none() -> None:
    gone = tuple(msgspec.structs.replace(tunnel, edge="", address="") for tunnel in AWS)
    for tunnels in (AWS, gone):
        check_value(KEYS["vpn"], msgspec.structs.replace(GOOD["vpn"], tunnels=tunnels))


def test_an_agent_follows_what_edges_reach() -> None:
    records = Records("hv1")
    records.put(KEYS["reach"], encode(GOOD["reach"]), 5)
    (stored,) = records.vpcs[VNI].of(Reach).values()
    assert stored.record == GOOD["reach"]
    assert Reach in records.take_dirty().kinds[VNI]
    records.drop(KEYS["reach"], 6)
    assert not records.vpcs[VNI].of(Reach)
