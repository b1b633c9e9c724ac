"""VRFs of several route tables of one VPC, their routes, and a port that moves from one VRF to another."""

from __future__ import annotations

import msgspec
import pytest

from netorch.plan.diff import diff
from netorch.state.base import KernelObject
from netorch.state.l3 import BLACKHOLE, IPV6_METRIC, LOCAL, UNREACHABLE, Address, Neighbour, Route
from netorch.state.link import AdminUp, Sysctl, vrf_of
from netorch.state.names import VRF_NUMBER_LAST, vrf_table
from netorch.state.op import Delete, Replace
from tests.contract.kernel.stands import (
    MAC,
    PORT,
    PORT_ROUTE,
    REMOTE_ROUTE,
    VETH,
    VNI,
    VPC,
    VXLAN,
    Stand,
    by_key,
    create,
    missing,
    there,
)

VRF = vrf_of(VNI, 1)
UP = AdminUp(vni=VNI, ifname=VRF.ifname)


def route(dst: str, kind: str, metric: int = 0) -> Route:
    return Route(vni=VNI, table=VRF.table, dst=dst, type=kind, metric=metric)


NOWHERE = (
    route("10.0.0.0/16", UNREACHABLE),
    route("203.0.113.0/24", BLACKHOLE),
    route("2001:db8::/56", UNREACHABLE, IPV6_METRIC),
    route("2001:db8:1::/48", BLACKHOLE, IPV6_METRIC),
)
# Objects of the VPC's port.
IPV6 = Sysctl(vni=VNI, path=f"ipv6/conf/{PORT}/disable_ipv6", value="0", ifname=PORT)
GATEWAY = Address(vni=VNI, ifname=PORT, address="fe80::1/128")
OF_PORT: tuple[KernelObject, ...] = (
    IPV6,
    GATEWAY,
    Neighbour(vni=VNI, ifname=PORT, dst="10.0.0.11", lladdr=MAC),
    Neighbour(vni=VNI, ifname=PORT, dst="2001:db8::11", lladdr=MAC),
    Route(vni=VNI, table=VNI, dst="2001:db8::11/128", ifname=PORT, metric=IPV6_METRIC),
)
BEFORE = by_key(*VPC, VRF, UP, *NOWHERE, *OF_PORT)


def test_a_vpc_has_a_vrf_for_each_route_table(stand: Stand) -> None:
    last = vrf_of(VNI, VRF_NUMBER_LAST)
    create(stand.kernel, *VPC, VRF, UP, last, *NOWHERE)
    assert missing(stand.kernel, *VPC, VRF, UP, last, *NOWHERE) == []
    assert {obj.vni for key, obj in stand.kernel.dump().items() if key in by_key(VRF, UP, last, *NOWHERE)} == {VNI}


def test_a_mapping_has_a_route_in_each_table(stand: Stand) -> None:
    create(stand.kernel, *VPC, VRF, UP)
    twins = [msgspec.structs.replace(obj, table=VRF.table) for obj in (REMOTE_ROUTE, PORT_ROUTE)]
    create(stand.kernel, *twins)
    assert missing(stand.kernel, *VPC, *twins) == []
    assert stand.kernel.apply([Delete(twin) for twin in twins]) == []
    assert missing(stand.kernel, *VPC) == []


def test_all_addresses_of_a_prefix_are_the_hosts_own_in_one_vrf(stand: Stand) -> None:
    own = Route(vni=VNI, table=VRF.table, dst="198.19.0.0/24", type=LOCAL, ifname=VRF.ifname)
    create(stand.kernel, *VPC, VRF, UP, own)
    assert missing(stand.kernel, *VPC, own) == []
    assert not there(stand.kernel, msgspec.structs.replace(own, table=VNI))
    assert stand.kernel.apply([Delete(own)]) == []
    assert not there(stand.kernel, own)


@pytest.mark.parametrize(
    "way",
    [
        Route(vni=VNI, table=VRF.table, dst="198.51.100.0/24", ifname="vx5000", via="192.0.2.12"),
        Route(vni=VNI, table=VRF.table, dst="2001:db8:2::/48", ifname="vx5000", via="fe80::c000:20c", metric=IPV6_METRIC),
    ],
    ids=["IPv4", "IPv6"],
)
def test_a_route_becomes_one_of_another_type_in_place(stand: Stand, way: Route) -> None:
    create(stand.kernel, *VPC, VRF, UP, Sysctl(vni=VNI, path="ipv6/conf/vx5000/disable_ipv6", value="0", ifname="vx5000"), way)
    shut = msgspec.structs.replace(way, type=BLACKHOLE, ifname="", via="")
    closed = msgspec.structs.replace(shut, type=UNREACHABLE)
    for old, new in ((way, shut), (shut, closed), (closed, way), (way, closed)):
        assert stand.kernel.apply([Replace(old, new)]) == []
        assert missing(stand.kernel, new) == []
    assert stand.kernel.apply([Delete(closed)]) == []
    assert not there(stand.kernel, closed)


def test_what_a_port_loses_by_changing_its_vrf_is_made_again_by_the_same_plan(stand: Stand) -> None:
    create(stand.kernel, *BEFORE.values())
    moved = {key: msgspec.structs.replace(obj, table=VRF.table) for key, obj in BEFORE.items() if _leads_to_the_port(obj)}
    after = {key: obj for key, obj in BEFORE.items() if key not in moved} | by_key(*moved.values())
    after |= by_key(msgspec.structs.replace(VETH, vrf=VRF.ifname))
    ops = diff(after, BEFORE)
    assert {type(op) for op in ops if op.obj.key == VETH.key} == {Replace}
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *after.values()) == []
    assert not [key for key in moved if key in stand.kernel.dump()], "of the table that it left"
    assert missing(stand.kernel, VXLAN, REMOTE_ROUTE) == []


def test_a_vrf_that_goes_leaves_its_ports_to_another(stand: Stand) -> None:
    create(stand.kernel, *VPC, VRF, UP, *NOWHERE)
    port = msgspec.structs.replace(VETH, vrf=VRF.ifname)
    assert stand.kernel.apply(diff(by_key(port), by_key(VETH))) == []
    assert stand.kernel.apply([Delete(VRF)]) == []
    assert not there(stand.kernel, UP)
    assert missing(stand.kernel, *NOWHERE) == [], "the table is not the device's"
    assert stand.kernel.apply([Delete(obj) for obj in NOWHERE]) == []
    assert stand.kernel.apply(missing(stand.kernel, *VPC)) == []
    assert missing(stand.kernel, *VPC) == []


def _leads_to_the_port(obj: KernelObject) -> bool:
    return isinstance(obj, Route) and obj.ifname == PORT and obj.table == vrf_table(VNI)
