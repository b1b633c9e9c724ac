from __future__ import annotations

import pytest
from msgspec import structs

from netorch.plan.diff import diff
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.l2 import Fdb
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, Address, Neighbour, Route
from netorch.state.link import AdminUp, IncompleteLink, Inside, Sysctl, TapPort, VethPort, Vrf, Vxlan, vrf_of
from netorch.state.nft import NftElement, NftTable
from netorch.state.op import Create, Delete, Replace

VRF = Vrf(vni=5000, ifname="vrf5000", table=5000)
VRF_UP = AdminUp(vni=5000, ifname="vrf5000")
DEFAULT = Route(vni=5000, table=5000, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC)
ROUTER = Address(vni=5000, ifname="vrf5000", address="10.0.0.1/32")
VXLAN = Vxlan(ifname="vx5000", vni=5000, local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1450, vrf="vrf5000")
VXLAN_UP = AdminUp(vni=5000, ifname="vx5000")
SOLICIT = Sysctl(vni=5000, path="ipv4/neigh/vx5000/mcast_solicit", value="0", ifname="vx5000")
NEIGHBOUR = Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr="02:4e:c0:00:02:0c")
FDB = Fdb(vni=5000, ifname="vx5000", lladdr="02:4e:c0:00:02:0c", dst="192.0.2.12")
MAPPING = Route(vni=5000, table=5000, dst="10.0.0.5/32", via="192.0.2.12", ifname="vx5000")
PORT = TapPort(vni=5000, ifname="v-0013880000001", lladdr="02:4e:54:ff:ff:01", mtu=1450, vrf="vrf5000")
PORT_UP = AdminUp(vni=5000, ifname=PORT.ifname)
PORT_NEIGHBOUR = Neighbour(vni=5000, ifname=PORT.ifname, dst="10.0.0.4", lladdr="02:00:00:00:00:01")
PORT_ROUTE = Route(vni=5000, table=5000, dst="10.0.0.4/32", ifname=PORT.ifname)
TABLE = NftTable(netns=OVERLAY, family="inet", body="set src4 { }")
ELEMENT = NftElement(netns=OVERLAY, family="inet", set="src4", items=(PORT.ifname, "10.0.0.4"), vni=5000)
PORT_OBJECTS = (PORT, PORT_UP, PORT_NEIGHBOUR, PORT_ROUTE)
ALL = (VRF, VRF_UP, DEFAULT, ROUTER, VXLAN, VXLAN_UP, SOLICIT, NEIGHBOUR, FDB, MAPPING, *PORT_OBJECTS, TABLE, ELEMENT)


def state(*objects: KernelObject) -> dict[Key, KernelObject]:
    """Return the objects by key; a later one replaces an earlier one."""
    return {obj.key: obj for obj in objects}


def without(*missing: KernelObject) -> dict[Key, KernelObject]:
    """Return all objects except these."""
    return {obj.key: obj for obj in ALL if obj not in missing}


def test_nothing_is_done_when_nothing_differs() -> None:
    assert diff(state(*ALL), state(*ALL)) == []


def test_all_is_made_in_the_order_in_which_it_is_safe() -> None:
    made = [op.obj for op in diff(state(*reversed(ALL)), {})]
    assert made == [
        *(TABLE, VRF, VRF_UP, DEFAULT, VXLAN, PORT, SOLICIT, ELEMENT, ROUTER, PORT_UP, VXLAN_UP),
        *(PORT_NEIGHBOUR, NEIGHBOUR, FDB, PORT_ROUTE, MAPPING),
    ]


def test_a_deleted_vpc_is_its_devices_and_what_they_leave_behind() -> None:
    assert diff({}, state(*ALL)) == [Delete(obj) for obj in (PORT, VXLAN, DEFAULT, VRF, TABLE)]


def test_elements_of_a_table_that_stays_are_removed() -> None:
    assert Delete(ELEMENT) in diff(state(TABLE), state(*ALL))


def test_a_repointed_mapping_is_changed_in_place_before_the_old_host_is_forgotten() -> None:
    moved = Route(vni=5000, table=5000, dst="10.0.0.5/32", via="192.0.2.13", ifname="vx5000")
    neighbour = Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.13", lladdr="02:4e:c0:00:02:0d")
    desired = without(NEIGHBOUR) | state(moved, neighbour)
    assert diff(desired, state(*ALL)) == [Create(neighbour), Replace(MAPPING, moved), Delete(NEIGHBOUR)]


def test_an_address_whose_port_leaves_is_routed_elsewhere_before_the_port_goes() -> None:
    away = Route(vni=5000, table=5000, dst="10.0.0.4/32", via="192.0.2.12", ifname="vx5000")
    desired = without(PORT, PORT_UP, PORT_NEIGHBOUR) | state(away)
    assert diff(desired, state(*ALL)) == [Replace(PORT_ROUTE, away), Delete(PORT)]


def test_an_incomplete_device_goes_first_and_its_children_come_back() -> None:
    actual = without(PORT_UP, VXLAN) | state(IncompleteLink(vni=5000, ifname="vx5000"))
    assert diff(state(*ALL), actual) == [
        Delete(IncompleteLink(vni=5000, ifname="vx5000")),
        *(Create(obj) for obj in (VXLAN, SOLICIT, PORT_UP, VXLAN_UP, NEIGHBOUR, FDB, MAPPING)),
    ]


def test_an_incomplete_device_that_nobody_wants_goes() -> None:
    assert diff({}, state(IncompleteLink(vni=5000, ifname="vx5000"))) == [Delete(IncompleteLink(vni=5000, ifname="vx5000"))]


def test_a_vxlan_device_of_another_vtep_is_recreated() -> None:
    other = Vxlan(ifname="vx5000", vni=5000, local="192.0.2.99", lladdr=VXLAN.lladdr, mtu=1450, vrf="vrf5000")
    ops = diff(state(*ALL), without(VXLAN) | state(other))
    assert ops[:2] == [Delete(other), Create(VXLAN)]
    assert Create(MAPPING) in ops


def test_a_vxlan_device_of_another_mtu_is_changed_in_place_and_nothing_else() -> None:
    other = Vxlan(ifname="vx5000", vni=5000, local="192.0.2.11", lladdr=VXLAN.lladdr, mtu=1400, vrf="vrf5000")
    assert diff(state(*ALL), without(VXLAN) | state(other)) == [Replace(other, VXLAN)]


def test_a_port_taken_out_of_its_vrf_gets_its_routes_and_neighbours_back() -> None:
    loose = TapPort(vni=5000, ifname=PORT.ifname, lladdr=PORT.lladdr, mtu=PORT.mtu, vrf="")
    assert diff(state(*ALL), without(PORT) | state(loose)) == [
        Replace(loose, PORT),
        Create(PORT_NEIGHBOUR),
        Create(PORT_ROUTE),
    ]


@pytest.mark.parametrize("mappings", [1, 1000])
def test_a_port_that_gets_another_vrf_costs_the_same_whatever_else_is_in_the_vpc(mappings: int) -> None:
    vrf = vrf_of(5000, 1)
    ways = [
        structs.replace(MAPPING, dst=f"10.1.{i >> 8}.{i & 255}/32", table=t) for i in range(mappings) for t in (5000, vrf.table)
    ]
    before = state(*ALL, vrf, *ways)
    moved, route = structs.replace(PORT, vrf=vrf.ifname), structs.replace(PORT_ROUTE, table=vrf.table)
    after = {key: obj for key, obj in before.items() if obj != PORT_ROUTE} | state(moved, route)
    assert diff(after, before) == [Replace(PORT, moved), Create(PORT_NEIGHBOUR), Create(route), Delete(PORT_ROUTE)]


def test_devices_move_one_by_one_to_a_vrf_that_has_all_its_routes() -> None:
    vrf, other = vrf_of(5000, 1), structs.replace(PORT, ifname="v-0013880000002")
    on_other = [structs.replace(obj, ifname=other.ifname) for obj in (PORT_UP, PORT_NEIGHBOUR)]
    before = state(*ALL, other, *on_other)
    moved = [structs.replace(port, vrf=vrf.ifname) for port in (PORT, other)]
    way = structs.replace(MAPPING, table=vrf.table)
    ops = diff(before | state(vrf, AdminUp(vni=5000, ifname=vrf.ifname), way, *moved), before)
    assert ops[:3] == [Create(vrf), Create(AdminUp(vni=5000, ifname=vrf.ifname)), Create(way)]
    assert ops[3:] == [
        *(Replace(PORT, moved[0]), Create(PORT_NEIGHBOUR), Create(PORT_ROUTE)),
        *(Replace(other, moved[1]), Create(on_other[1])),
    ]


def test_a_recreated_vrf_takes_its_devices_back_without_recreating_them() -> None:
    wrong = Vrf(vni=5000, ifname="vrf5000", table=4242)
    loose_vxlan = Vxlan(ifname="vx5000", vni=5000, local="192.0.2.11", lladdr=VXLAN.lladdr, mtu=1450, vrf="")
    loose_port = TapPort(vni=5000, ifname=PORT.ifname, lladdr=PORT.lladdr, mtu=PORT.mtu, vrf="")
    assert diff(state(*ALL), without(VRF) | state(wrong)) == [
        Delete(wrong),
        Create(VRF),
        Create(VRF_UP),
        Replace(loose_vxlan, VXLAN),
        Replace(loose_port, PORT),
        Create(ROUTER),
        Create(PORT_NEIGHBOUR),
        Create(NEIGHBOUR),
        Create(PORT_ROUTE),
        Create(MAPPING),
    ]


def test_children_remembered_of_a_device_that_is_not_there_are_made_again() -> None:
    ops = diff(state(*ALL), without(PORT))
    assert ops == [Create(obj) for obj in (PORT, PORT_UP, PORT_NEIGHBOUR, PORT_ROUTE)]


def test_a_changed_table_is_replaced_and_keeps_its_elements() -> None:
    old = NftTable(netns=OVERLAY, family="inet", body="")
    assert diff(state(*ALL), without(TABLE) | state(old)) == [Replace(old, TABLE)]


def test_a_map_element_of_another_value_is_replaced_in_one_go() -> None:
    old = NftElement(netns=OVERLAY, family="inet", set="zone", items=("vx5000",), vni=5000, value="1")
    new = NftElement(netns=OVERLAY, family="inet", set="zone", items=("vx5000",), vni=5000, value="2")
    assert diff(state(TABLE, new), state(TABLE, old)) == [Replace(old, new)]


def test_what_the_kernel_does_not_tell_of_a_port_is_no_difference() -> None:
    def port(*addresses: str) -> VethPort:
        inside = Inside(ifname="eth0", lladdr="02:00:00:00:00:01", addresses=addresses, gateways=())
        return VethPort(ifname="v-1", lladdr="m", mtu=1450, vrf="vrf5000", instance_netns="i-1", make_netns=True, inside=inside)

    assert diff(state(port("10.0.0.4/24")), state(port())) == []


def test_a_kept_port_is_not_removed() -> None:
    assert diff(without(*PORT_OBJECTS), state(*ALL), keep={PORT.key}) == []


def test_a_kept_port_that_was_taken_is_not_made_again() -> None:
    assert diff(state(*ALL), without(*PORT_OBJECTS), keep={PORT.key}) == []


def test_a_kept_port_is_not_changed_while_the_rest_is() -> None:
    other = TapPort(vni=5000, ifname=PORT.ifname, lladdr=PORT.lladdr, mtu=1000, vrf="vrf5000")
    actual = without(PORT, PORT_ROUTE, MAPPING) | state(other)
    assert diff(state(*ALL), actual, keep={PORT.key}) == [Create(MAPPING)]
