"""The objects that are deleted or changed along with another object."""

from __future__ import annotations

import msgspec

from netorch.state.aftermath import aftermath
from netorch.state.base import KernelObject, Key
from netorch.state.l2 import Fdb
from netorch.state.l3 import IPV6_METRIC, UNREACHABLE, Address, Neighbour, Route
from netorch.state.link import AdminUp, TapPort, Vxlan, vrf_of
from netorch.state.nft import NftElement, NftMap, NftTable, PortChain

VNI = 5000
VRF = vrf_of(VNI, 1)
LAST = Route(vni=VNI, table=VRF.table, dst="0.0.0.0/0", type=UNREACHABLE)
VXLAN = Vxlan(vni=VNI, ifname="vx5000", local="192.0.2.11", lladdr="02:4e:c0:00:02:0b", mtu=1450, vrf=VRF.ifname)
VXLAN_UP = AdminUp(vni=VNI, ifname="vx5000")
FDB = Fdb(vni=VNI, ifname="vx5000", lladdr="02:4e:c0:00:02:0c", dst="192.0.2.12")
WAY = Route(vni=VNI, table=VRF.table, dst="10.0.0.5/32", via="192.0.2.12", ifname="vx5000")
PORT = TapPort(vni=VNI, ifname="v-0013880000001", lladdr="02:4e:54:ff:ff:01", mtu=1450, vrf=VRF.ifname)
PORT_UP = AdminUp(vni=VNI, ifname=PORT.ifname)
NEIGHBOUR = Neighbour(vni=VNI, ifname=PORT.ifname, dst="10.0.0.4", lladdr="02:00:00:00:00:01")
ROUTE = Route(vni=VNI, table=VRF.table, dst="10.0.0.4/32", ifname=PORT.ifname)
ROUTE6 = Route(vni=VNI, table=VRF.table, dst="2001:db8::4/128", ifname=PORT.ifname, metric=IPV6_METRIC)
GATEWAY = Address(vni=VNI, ifname=PORT.ifname, address="fe80::1/128")
IPV4 = Address(vni=VNI, ifname=PORT.ifname, address="169.254.0.1/32")
CHAIN = PortChain(vni=VNI, ifname=PORT.ifname, rules=("drop",))
TABLE = NftTable(family="inet", body="")
MAP = NftMap(vni=VNI, name="identity-001388.4", spec="type ipv4_addr : mark")
ELEMENT = NftElement(vni=VNI, family="inet", set=MAP.name, items=("10.0.0.4",), value="0x1")
OF_PORT = (PORT_UP, NEIGHBOUR, ROUTE, ROUTE6, GATEWAY, IPV4, CHAIN)
ALL: dict[Key, KernelObject] = {
    obj.key: obj for obj in (VRF, LAST, VXLAN, VXLAN_UP, FDB, WAY, PORT, *OF_PORT, TABLE, MAP, ELEMENT)
}


def lost(*objects: KernelObject) -> dict[Key, None]:
    return {obj.key: None for obj in objects}


def test_a_device_takes_along_what_is_on_it() -> None:
    assert aftermath(ALL, [PORT]) == lost(*OF_PORT)


def test_a_vrf_leaves_its_devices_without_what_a_fall_takes_and_its_table_with_what_leads_nowhere() -> None:
    assert aftermath(ALL, [VRF]) == {
        VXLAN.key: msgspec.structs.replace(VXLAN, vrf=""),
        PORT.key: msgspec.structs.replace(PORT, vrf=""),
        **lost(WAY, NEIGHBOUR, ROUTE, ROUTE6, GATEWAY),
    }


def test_a_device_that_gets_another_vrf_loses_what_a_fall_takes() -> None:
    assert aftermath(ALL, (), [PORT.key]) == lost(NEIGHBOUR, ROUTE, ROUTE6, GATEWAY)


def test_a_device_that_goes_down_loses_the_same() -> None:
    assert aftermath(ALL, [PORT_UP]) == lost(NEIGHBOUR, ROUTE, ROUTE6, GATEWAY)


def test_a_table_takes_along_maps_and_their_elements() -> None:
    assert aftermath(ALL, [TABLE]) == lost(MAP, ELEMENT)


def test_what_nothing_stands_on_goes_alone() -> None:
    assert aftermath(ALL, [ROUTE, FDB, ELEMENT, NEIGHBOUR]) == {}
