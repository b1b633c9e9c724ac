"""Routes to a peer: in one VPC's table, through the VXLAN device of another VPC."""

from __future__ import annotations

import msgspec

from netorch.state.l3 import Route
from netorch.state.link import AdminUp, vrf_of
from netorch.state.op import Delete, Replace
from tests.contract.kernel.stands import REMOTE_ROUTE, VNI, VPC, VXLAN, Stand, create, missing, there

PEER = 7000
VRF = vrf_of(PEER)
UP = AdminUp(vni=PEER, ifname=VRF.ifname)
WAY: Route = msgspec.structs.replace(REMOTE_ROUTE, table=VRF.table)  # belongs to the VPC of the VXLAN device


def test_a_route_in_a_peers_table_is_of_the_vpc_whose_device_it_leads_to(stand: Stand) -> None:
    create(stand.kernel, *VPC, VRF, UP, WAY)
    assert missing(stand.kernel, REMOTE_ROUTE, WAY) == []
    assert stand.kernel.dump()[WAY.key] == WAY
    assert WAY.vni == VNI != VRF.vni


def test_a_way_to_a_peer_is_replaced_and_goes_by_itself(stand: Stand) -> None:
    create(stand.kernel, *VPC, VRF, UP, WAY)
    moved = msgspec.structs.replace(WAY, via="192.0.2.13")
    assert stand.kernel.apply([Replace(WAY, moved)]) == []
    assert stand.kernel.dump()[WAY.key] == moved
    assert stand.kernel.apply([Delete(moved)]) == []
    assert not there(stand.kernel, WAY)
    assert missing(stand.kernel, REMOTE_ROUTE) == []


def test_a_way_to_a_peer_goes_with_the_device(stand: Stand) -> None:
    create(stand.kernel, *VPC, VRF, UP, WAY)
    assert stand.kernel.apply([Delete(VXLAN)]) == []
    assert not there(stand.kernel, WAY)
    assert not there(stand.kernel, REMOTE_ROUTE)
    assert missing(stand.kernel, VRF, UP) == []
