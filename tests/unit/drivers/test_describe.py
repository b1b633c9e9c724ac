"""Operations in words."""

from __future__ import annotations

import pytest

from netorch.drivers.describe import describe
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route, Rule
from netorch.state.link import AdminUp, Gro, HalfMade, Sysctl, TapPort, Vrf, Vxlan
from netorch.state.nft import NftChain, NftElement, NftMap, NftTable, PortChain, Scope
from netorch.state.op import Create, Delete, Op, Replace

ROUTE = Route(table=5000, dst="10.0.0.5/32", ifname="vx5000", via="192.0.2.12")
VXLAN = Vxlan(ifname="vx5000", vni=5000, local="192.0.2.11", lladdr="02:00:00:00:00:01", mtu=1450, vrf="vrf5000")


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Create(ROUTE), "create route 10.0.0.5/32 table 5000 via 192.0.2.12 dev vx5000"),
        (Replace(ROUTE, ROUTE), "replace route 10.0.0.5/32 table 5000 via 192.0.2.12 dev vx5000"),
        (Delete(Route(table=5000, dst="::/0", metric=9)), "delete unreachable route ::/0 table 5000 metric 9"),
        (Create(Vrf(ifname="vrf5000", table=5000)), "create link vrf5000 type vrf table 5000"),
        (Create(VXLAN), "create link vx5000 type vxlan id 5000 local 192.0.2.11 master vrf5000"),
        (Create(TapPort(ifname="v-1", lladdr="", mtu=1, vrf="vrf5000")), "create link v-1 type tap master vrf5000"),
        (Delete(HalfMade(ifname="vx5000")), "delete half made link vx5000"),
        (Create(AdminUp(ifname="vx5000")), "create up state of vx5000"),
        (Create(Gro(ifname="vx5000", on=False)), "create gro off of vx5000"),
        (Create(Sysctl(path="ipv4/ip_forward", value="1")), "create sysctl ipv4/ip_forward=1"),
        (Create(Neighbour(ifname="vx5000", dst="192.0.2.12", lladdr="m")), "create neighbour 192.0.2.12 lladdr m dev vx5000"),
        (Delete(Fdb(ifname="vx5000", lladdr="m", dst="192.0.2.12")), "delete fdb entry m dev vx5000 dst 192.0.2.12"),
        (Create(Address(ifname="vrf5000", address="10.0.0.1/32")), "create address 10.0.0.1/32 dev vrf5000"),
        (Create(Rule(version=6, priority=32765, table=255)), "create IPv6 rule pref 32765 lookup 255"),
        (Create(NftTable(scope=Scope.FABRIC, family="inet", text="")), "create nft table inet netorch (fabric)"),
        (Create(PortChain(ifname="v-1", rules=())), "create nft chain netdev netorch v-1"),
        (Delete(NftMap(name="class-001388.4", spec="type a : mark")), "delete nft map inet netorch class-001388.4"),
        (Create(NftChain(name="c", rules=("drop",))), "create nft chain inet netorch c"),
        (
            Create(NftElement(scope=Scope.FABRIC, family="inet", set="zone", items=("vx5000",), vni=5000, value="7")),
            "create nft element inet netorch zone { vx5000 : 7 } (fabric)",
        ),
    ],
)
def test_an_operation_reads_like_the_command_that_does_it(op: Op, text: str) -> None:
    assert describe(op) == text
