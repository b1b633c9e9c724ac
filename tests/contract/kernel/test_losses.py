"""Objects that the kernel removes together with another one."""

from __future__ import annotations

import msgspec

from netorch.state.l3 import IPV6_METRIC, Route
from netorch.state.link import AdminUp, Sysctl
from netorch.state.nft import NFT_KINDS
from netorch.state.op import Create, Delete
from tests import chains
from tests.contract.kernel.stands import (
    CHAIN,
    ELEMENTS,
    FDB,
    NEIGHBOUR,
    OUTSIDE_CHAIN,
    PORT_ROUTE,
    REMOTE_ROUTE,
    TABLES,
    VETH,
    VNI,
    VPC,
    VRF,
    VXLAN,
    Stand,
    create,
    missing,
    there,
)


def test_a_deleted_map_takes_along_its_elements(stand: Stand) -> None:
    create(stand.kernel, *TABLES, chains.MAPS[0], chains.PEERS[0])
    assert stand.kernel.apply([Delete(chains.MAPS[0])]) == []
    assert not there(stand.kernel, chains.PEERS[0])


def test_a_deleted_table_takes_along_what_it_holds(stand: Stand) -> None:
    create(stand.kernel, VRF, VETH, *TABLES, CHAIN, OUTSIDE_CHAIN, *ELEMENTS)
    assert stand.kernel.apply([Delete(table) for table in TABLES]) == []
    assert stand.kernel.dump(NFT_KINDS) == {}


def test_a_device_takes_its_own_things_along(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Delete(VXLAN)]) == []
    found = stand.kernel.dump()
    assert not [obj for obj in found.values() if getattr(obj, "ifname", "") == "vx5000"]
    survivors = [obj for obj in VPC if getattr(obj, "ifname", "") != "vx5000"]
    assert missing(stand.kernel, *survivors) == []


def test_a_port_that_is_made_again_has_no_chain_yet(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Delete(VETH), Create(VETH)]) == []
    assert not there(stand.kernel, CHAIN)
    assert stand.kernel.apply(missing(stand.kernel, *VPC)) == []
    assert missing(stand.kernel, *VPC) == []


def test_a_device_that_goes_down_loses_routes_and_neighbours(stand: Stand) -> None:
    ipv6 = Route(vni=VNI, table=VNI, dst="2001:db8::12/128", ifname="vx5000", via="fe80::c000:20c", metric=IPV6_METRIC)
    create(stand.kernel, *VPC, Sysctl(vni=VNI, path="ipv6/conf/vx5000/disable_ipv6", value="0", ifname="vx5000"), ipv6)
    assert stand.kernel.apply([Delete(AdminUp(vni=VNI, ifname="vx5000"))]) == []
    lost = (REMOTE_ROUTE, ipv6, NEIGHBOUR, AdminUp(vni=VNI, ifname="vx5000"))
    assert [obj for obj in lost if there(stand.kernel, obj)] == []
    assert missing(stand.kernel, *(obj for obj in VPC if obj not in lost)) == []


def test_a_vrf_leaves_its_members_behind_without_their_routes(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Delete(VRF)]) == []
    found = stand.kernel.dump()
    assert found[VXLAN.key] == msgspec.structs.replace(VXLAN, vrf="")
    assert REMOTE_ROUTE.key not in found
    assert PORT_ROUTE.key not in found
    assert FDB.key in found
