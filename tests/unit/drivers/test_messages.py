"""Packed messages can be read back; foreign objects are not read as ours. No kernel needed."""

from __future__ import annotations

import pytest

from netorch.drivers.netlink import attr, attr_text, attr_u32, attrs, nested, split
from netorch.drivers.rtnl import decode, devices, encode
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.encode import NotPackable
from netorch.drivers.rtnl.uapi import RTM
from netorch.state.base import KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, IncompleteLink, TapPort, Vrf, Vxlan
from netorch.state.owner import altname

NUMBERS = {"vrf5000": 7, "vx5000": 8, "v-0013880000001": 9}
PLACE = Place(names={number: name for name, number in NUMBERS.items()})


def body_of(obj: KernelObject) -> bytes:
    return encode.pack(obj, NUMBERS.__getitem__)[0][2]


@pytest.mark.parametrize(
    "route",
    [
        Route(vni=5000, table=5000, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12"),
        Route(vni=5000, table=5000, dst="10.0.0.12/32", ifname="vx5000", via="192.0.2.12", mtu=1400),
        Route(vni=5000, table=5000, dst="2001:db8::12/128", ifname="vx5000", via="fe80::c000:20c", metric=1024, mtu=1400),
        Route(vni=5000, table=5000, dst="10.0.0.11/32", ifname="v-0013880000001"),
        Route(vni=5000, table=16777214, dst="10.0.0.0/16", ifname="v-0013880000001", metric=7),  # a peer's table
        Route(vni=5000, table=5000, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC),
        Route(vni=5000, table=5000, dst="::/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC),
        Route(vni=5000, table=5000, dst="2001:db8::12/128", ifname="vx5000", via="fe80::c000:20c", metric=1024),
    ],
)
def test_a_route_survives_the_way_there_and_back(route: Route) -> None:
    assert decode.route(body_of(route), PLACE) == route


def test_a_route_of_another_protocol_is_foreign() -> None:
    body = bytearray(body_of(Route(vni=5000, table=5000, dst="10.0.0.11/32", ifname="vx5000")))
    body[5] = 4  # static
    assert decode.route(bytes(body), PLACE) is None


def test_neighbours_fdb_entries_addresses_and_rules_survive_too() -> None:
    neighbour = Neighbour(vni=5000, ifname="vx5000", dst="fe80::c000:20c", lladdr="02:4e:c0:00:02:0c")
    fdb = Fdb(vni=5000, ifname="vx5000", lladdr="02:4e:c0:00:02:0c", dst="192.0.2.12")
    address = Address(vni=5000, ifname="vrf5000", address="2001:db8::1/128")
    rule = Rule(version=6, priority=32765, table=255)
    assert decode.neighbour(body_of(neighbour), PLACE) == (neighbour, True)
    assert decode.fdb(body_of(fdb), PLACE) == fdb
    assert decode.address(body_of(address), PLACE) == address
    assert decode.rule(body_of(rule)) == (rule, True)


def test_a_neighbour_that_the_kernel_learnt_is_foreign() -> None:
    body = body_of(Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr="02:4e:c0:00:02:0c"))
    assert decode.neighbour(body[: -len(attr(12, b"\0"))], PLACE) is None


def test_entries_of_foreign_devices_are_foreign() -> None:
    place = Place(names={8: "vxlan0", 7: "eth0"})
    assert decode.fdb(body_of(Fdb(vni=5000, ifname="vx5000", lladdr="02:00:00:00:00:01", dst="192.0.2.12")), place) is None
    assert decode.address(body_of(Address(vni=5000, ifname="vrf5000", address="10.0.0.1/32")), place) is None


def test_an_object_on_a_missing_device_cannot_be_packed() -> None:
    with pytest.raises(LookupError):
        encode.pack(Route(vni=5000, table=5000, dst="10.0.0.1/32", ifname="vx1"), NUMBERS.__getitem__)


def test_deleting_a_route_asks_for_ours_only() -> None:
    ((kind, _, body),) = encode.pack(
        Route(vni=5000, table=5000, dst="10.0.0.11/32", ifname="gone"), NUMBERS.__getitem__, delete=True
    )
    assert (kind, body[5]) == (RTM.DELROUTE, 200)


def test_the_local_rule_changes_places_with_the_kernels_own() -> None:
    rule = Rule(version=4, priority=32765, table=255)
    create = encode.pack(rule, NUMBERS.__getitem__)
    assert [kind for kind, _, _ in create] == [RTM.NEWRULE, RTM.DELRULE]
    assert decode.is_stock_local(decode.rule(create[1][2])[0])
    delete = encode.pack(rule, NUMBERS.__getitem__, delete=True)
    assert [kind for kind, _, _ in delete] == [RTM.NEWRULE, RTM.DELRULE]


def test_an_ipv6_vtep_is_refused() -> None:
    vxlan = Vxlan(ifname="vx5000", vni=5000, local="2001:db8::1", lladdr="02:4e:c0:00:02:0c", mtu=1500, vrf="vrf5000")
    with pytest.raises(NotPackable):
        encode.new_vxlan(vxlan, 3, 7)


def vrf_body(*extra: bytes, name: str = "vrf5000") -> bytes:
    return (
        encode.link_header(7, 1)
        + attr_text(3, name)
        + nested(18, attr(1, b"vrf"), nested(2, attr_u32(1, 5000)))
        + b"".join(extra)
    )


def marked(name: str) -> bytes:
    return nested(52, attr_text(53, "alias0"), attr_text(53, altname(name)))


def test_a_marked_device_is_ours_and_up() -> None:
    found = list(devices.device_objects(devices.device(vrf_body(marked("vrf5000"))), Place()))
    assert found[:2] == [Vrf(vni=5000, ifname="vrf5000", table=5000), AdminUp(vni=5000, ifname="vrf5000")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (vrf_body(), IncompleteLink(vni=5000, ifname="vrf5000", seems=Vrf(vni=5000, ifname="vrf5000", table=5000))),
        (vrf_body(name="tenant"), None),
        (vrf_body(marked("vrf5000"), name="renamed"), IncompleteLink(ifname="renamed")),
        (vrf_body(marked("vrf5000"), attr_u32(27, encode.DELETED_GROUP)), IncompleteLink(vni=5000, ifname="vrf5000")),
    ],
    ids=["without a mark", "foreign", "renamed", "to be deleted"],
)
def test_other_devices_are_incomplete_or_foreign(body: bytes, expected: KernelObject | None) -> None:
    assert devices.link(devices.device(body), Place()) == expected


def test_a_tap_knows_its_vrf_by_name() -> None:
    name = "v-0013880000001"
    body = encode.link_header(9) + attr_text(3, name) + encode.lladdr("02:4e:54:ff:ff:01") + encode.mtu(1450) + encode.master(7)
    dev = devices.device(body + nested(18, attr(1, b"tun")) + marked(name))
    assert devices.link(dev, PLACE) == TapPort(vni=5000, ifname=name, lladdr="02:4e:54:ff:ff:01", mtu=1450, vrf="vrf5000")


def test_attributes_are_padded_and_cut_at_their_length() -> None:
    data = attr(1, b"abc") + attr_u32(2, 7)
    assert len(data) == 16
    assert attrs(data) == {1: b"abc", 2: b"\7\0\0\0"}
    assert attrs(data[:10]) == {1: b"abc"}
    assert list(split(b"")) == []
