"""Stored records that decode but are invalid are detected; all records that netorch writes are valid."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netorch.errors import UnreadableRecord
from netorch.model.eni import Host, Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.model.routing.peering import PeeringConnection, PeeringStatus, PeerVpc
from netorch.model.security import AclEntry, NetworkAcl, PrefixList, PrefixListEntry, SecurityGroup, SecurityGroupRule
from netorch.model.vpc import RouteTable, Subnet, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.codec import check_value

VNI = 5000
IDS = {kind: make_id(kind, VNI, 7) for kind in ("vpc", "subnet", "rtb", "eni", "i", "sg", "sgr", "acl", "pl", "fl", "pcx")}
OTHER = {kind: make_id(kind, VNI + 1, 7) for kind in IDS}
RULE = SecurityGroupRule(id=IDS["sgr"], protocol=6, from_port=443, to_port=443, cidr="10.0.0.0/8")
OF_PEER = SecurityGroupRule(id=IDS["sgr"], protocol=6, from_port=443, to_port=443, group=OTHER["sg"])
ENTRY = AclEntry(number=100, allow=True, protocol=6, cidr="10.0.0.0/8", from_port=0, to_port=65535)
MAPPING = Mapping(
    vni=VNI, address="10.0.0.4", eni=IDS["eni"], mac="06:00:00:00:00:01", host="hv1", vtep="192.0.2.1", groups=(IDS["sg"],)
)
GOOD: dict[str, Any] = {
    "vpc": Vpc(id=IDS["vpc"], vni=VNI, owner="acme", name="web", cidrs=("10.0.0.0/16", "10.1.0.0/16"), tags={"a": "b"}),
    "subnet": Subnet(id=IDS["subnet"], vni=VNI, name="app", cidr="10.0.0.0/24", ipv6_cidr="fd00::/64", acl=IDS["acl"]),
    "rtb": RouteTable(
        id=IDS["rtb"],
        vni=VNI,
        name="fire",
        number=200,
        routes=(
            VpcRoute(destination="0.0.0.0/0", target=IDS["eni"]),
            VpcRoute(destination="::/0", target="blackhole"),
            VpcRoute(destination=IDS["pl"], target=make_id("pcx", VNI + 1, 7)),
        ),
    ),
    "eni": NetworkInterface(
        id=IDS["eni"],
        vni=VNI,
        subnet=IDS["subnet"],
        mac="06:00:00:00:00:01",
        address="10.0.0.4",
        ipv6_address="fd00::4",
        instance=IDS["i"],
        groups=(IDS["sg"],),
    ),
    "i": Instance(id=IDS["i"], vni=VNI, name="web-1"),
    "sg": SecurityGroup(id=IDS["sg"], vni=VNI, name="web", description="some", ingress=(RULE, OF_PEER)),
    "acl": NetworkAcl(id=IDS["acl"], vni=VNI, name="strict", egress=(ENTRY,)),
    "pl": PrefixList(
        id=IDS["pl"], vni=VNI, name="off", version=4, max_entries=2, entries=(PrefixListEntry(cidr="192.0.2.0/24"),)
    ),
    "pcx": PeeringConnection(
        id=IDS["pcx"],
        vni=VNI,
        requester=PeerVpc(id=IDS["vpc"], owner="acme"),
        accepter=PeerVpc(id=OTHER["vpc"], owner="globex"),
        status=PeeringStatus.ACTIVE,
        expires=7,
        name="to-data",
    ),
    "fl": FlowLog(id=IDS["fl"], vni=VNI, name="all", resource=IDS["subnet"], interval_s=60),
}
KEYS = {kind: keys.resource(record.id) for kind, record in GOOD.items()}
GOOD |= {"map": MAPPING, "host": Host(name="hv1", underlay="192.0.2.1")}
KEYS |= {"map": keys.mapping(VNI, "10.0.0.4"), "host": keys.host_spec("hv1")}

BAD: list[tuple[str, dict[str, Any]]] = [
    ("pcx", {"accepter": PeerVpc(id=IDS["vpc"], owner="globex")}),
    ("pcx", {"accepter": PeerVpc(id=OTHER["sg"], owner="globex")}),
    ("pcx", {"accepter": PeerVpc(id=OTHER["vpc"], owner="a b")}),
    ("pcx", {"requester": PeerVpc(id=OTHER["vpc"], owner="acme"), "accepter": PeerVpc(id=IDS["vpc"], owner="globex")}),
    ("pcx", {"name": "a b"}),
    *((kind, {"id": OTHER[kind]}) for kind in GOOD if kind not in ("map", "host")),
    *((kind, {"vni": VNI + 1}) for kind in GOOD if kind != "host"),
    *((kind, {"name": "\x1b[2J"}) for kind in GOOD if kind != "map"),
    *((kind, {"name": IDS["eni"]}) for kind in GOOD if kind != "map"),
    *((kind, {"tags": {"a": "\x1b[31m"}}) for kind in GOOD if kind != "map"),
    *((kind, {"tags": {"aws:x": ""}}) for kind in GOOD if kind != "map"),
    ("vpc", {"owner": "a/b"}),
    ("vpc", {"cidrs": ()}),
    ("vpc", {"cidrs": ("10.0.0.0/8",)}),
    ("vpc", {"cidrs": ("10.0.0.0/16", "10.0.1.0/24")}),
    ("vpc", {"ipv6_cidrs": ("fd00::0/56",)}),
    ("subnet", {"cidr": "10.0.0.0/64"}),
    ("subnet", {"cidr": "10.0.0.1/24"}),
    ("subnet", {"ipv6_cidr": "10.0.0.0/24"}),
    ("subnet", {"acl": OTHER["acl"]}),
    ("subnet", {"route_table": IDS["acl"]}),
    ("rtb", {"number": -1}),
    ("rtb", {"number": 201}),
    *(
        ("rtb", {"routes": (VpcRoute(destination=destination, target=target),)})
        for destination, target in (
            ("10.0.0.1/8", "blackhole"),
            ("010.0.0.0/8", "blackhole"),
            (OTHER["pl"], "blackhole"),
            ("pl-names", "blackhole"),
            (IDS["sg"], "blackhole"),
            ("10.0.0.0/8", ""),
            ("10.0.0.0/8", IDS["sg"]),
            ("10.0.0.0/8", "igw-1"),
            ("10.0.0.0/8", OTHER["eni"]),
        )
    ),
    ("rtb", {"routes": (VpcRoute(destination="::/0", target="blackhole"), VpcRoute(destination="::/0", target="local"))}),
    ("eni", {"mac": "07:00:00:00:00:01"}),
    ("eni", {"mac": "06:00:00:00:00:0A"}),
    ("eni", {"address": "10.0.0.04"}),
    ("eni", {"address": "fd00::4"}),
    ("eni", {"ipv6_address": "FD00::4"}),
    ("eni", {"instance": IDS["eni"]}),
    ("eni", {"groups": (IDS["sg"], IDS["sg"])}),
    ("eni", {"groups": (IDS["pl"],)}),
    ("i", {"netns": "mine"}),
    ("sg", {"description": "a\nb"}),
    ("acl", {"egress": (ENTRY, ENTRY)}),
    ("acl", {"egress": (msgspec.structs.replace(ENTRY, number=32767),)}),
    ("acl", {"egress": (msgspec.structs.replace(ENTRY, cidr="0.0.0,0/0"),)}),
    ("acl", {"egress": (msgspec.structs.replace(ENTRY, protocol=58, from_port=-1, to_port=-1),)}),
    ("pl", {"entries": (PrefixListEntry(cidr="192.0.2.0x24"),)}),
    ("pl", {"entries": (PrefixListEntry(cidr="fd00::/8"),)}),
    ("pl", {"entries": ()}),
    ("pl", {"max_entries": 0}),
    ("fl", {"interval_s": 1}),
    ("fl", {"resource": IDS["sg"]}),
    ("fl", {"format": ("version", "nonsense")}),
    ("map", {"address": "10.0.0.5"}),
    ("map", {"eni": OTHER["eni"]}),
    ("map", {"vtep": "127.0.0.1"}),
    ("map", {"host": "a/b"}),
    ("map", {"move": Move(direction=MoveDirection.TO, host="hv2", vtep="fd00::1")}),
    ("host", {"underlay": "0.0.0.0"}),
    *(
        ("sg", {way: (msgspec.structs.replace(RULE, **rule),)})
        for way in ("ingress", "egress")
        for rule in (
            {"id": IDS["sg"]},
            {"protocol": 256},
            {"protocol": -2},
            {"from_port": 444},
            {"to_port": 65536},
            {"protocol": 47},
            {"protocol": 1, "from_port": -1, "to_port": 0},
            {"cidr": "10.0.0,0/8"},
            {"cidr": "10.0.0.0/08"},
            {"cidr": ""},
            {"group": IDS["sg"]},
            {"cidr": "", "group": OTHER["pl"]},
            {"cidr": "", "group": "sg-00138g00000000007"},
            {"cidr": "", "prefix_list": IDS["sg"]},
            {"description": "\x9b2J"},
        )
    ),
]


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_record_makes_sense_at_its_own_key_only(kind: str) -> None:
    check_value(KEYS[kind], GOOD[kind])
    with pytest.raises(UnreadableRecord, match="makes no sense"):
        check_value(KEYS[kind] + "0", GOOD[kind])


@pytest.mark.parametrize(("kind", "change"), BAD, ids=lambda value: str(value)[:40])
def test_a_record_with_one_bad_value_makes_no_sense(kind: str, change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRecord, match="makes no sense"):
        check_value(KEYS[kind], msgspec.structs.replace(GOOD[kind], **change))
