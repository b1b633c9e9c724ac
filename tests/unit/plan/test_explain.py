from __future__ import annotations

import pytest

from netorch.plan.explain import explain, explain_state, op_text
from netorch.state.base import OVERLAY, UNDERLAY, KernelObject
from netorch.state.l2 import Fdb
from netorch.state.l3 import UNREACHABLE, Neighbour, Route, Rule
from netorch.state.link import Gro, IncompleteLink, Sysctl, TapPort, Vrf
from netorch.state.nft import ChainSet, NftChain, NftElement, NftMap, NftTable, PortChain
from netorch.state.op import Create, Delete, Replace

ROUTE = Route(vni=5000, table=5000, dst="10.44.12.4/32", via="192.0.2.11", ifname="vx5000")


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (Rule(version=6, priority=32765, table=255), "rule -6 pref 32765 lookup local"),
        (Rule(version=4, priority=9, table=7), "rule pref 9 lookup 7"),
        (Sysctl(vni=5000, path="ipv4/conf/vx5000/x", value="1", ifname="vx5000"), "sysctl net.ipv4.conf.vx5000.x = 1"),
        (Gro(vni=5000, ifname="vx5000", on=False), "link vx5000 gro off"),
        (IncompleteLink(vni=5000, ifname="vx5000"), "link vx5000 incomplete"),
        (TapPort(ifname="v-1", lladdr="m", mtu=1450, vrf=""), "link v-1 type tap address m mtu 1450 master none"),
        (ROUTE, "route 10.44.12.4/32 via 192.0.2.11 dev vx5000"),
        (
            Route(vni=5000, table=5000, dst="2001:db8::4/128", ifname="v-1", metric=1024),
            "route 2001:db8::4/128 dev v-1 metric 1024",
        ),
        (
            Route(vni=5000, table=5000, dst="0.0.0.0/0", type=UNREACHABLE, metric=9),
            "route unreachable 0.0.0.0/0 table 5000 metric 9",
        ),
        (Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.11", lladdr="m"), "neigh 192.0.2.11 lladdr m dev vx5000"),
        (Fdb(vni=5000, ifname="vx5000", lladdr="m", dst="192.0.2.11"), "fdb m dst 192.0.2.11 dev vx5000"),
        (
            NftTable(netns=UNDERLAY, family="inet", body="a\nb\n"),
            "nft table inet netorch in underlay (2 lines)",
        ),
        (PortChain(ifname="v-1", rules=("a b accept", "drop")), "nft chain netdev v-1 { a b accept; drop }"),
        (NftMap(vni=5000, name="identity-001388.4", spec="type a : mark"), "nft map inet identity-001388.4 { type a : mark }"),
        (
            NftChain(name="c", rules=("a @c.s", "drop"), sets=(ChainSet(name="c.s", spec="type mark", elements=("0x1", "0x2")),)),
            "nft chain inet c { a @c.s; drop } @c.s { 0x1, 0x2 }",
        ),
        (
            NftElement(netns=OVERLAY, family="inet", set="zone", items=("vx5000", "1"), vni=5000, value="7"),
            "nft element inet zone { vx5000 . 1 : 7 } in overlay",
        ),
    ],
)
def test_an_object_is_one_line(obj: KernelObject, text: str) -> None:
    assert obj.text() == text


def test_a_change_says_what_was_there_before() -> None:
    old = Route(vni=5000, table=5000, dst="10.44.12.4/32", via="192.0.2.12", ifname="vx5000")
    assert op_text(Replace(old, ROUTE)) == "~ route 10.44.12.4/32 via 192.0.2.11 dev vx5000 (was: via 192.0.2.12)"


def test_a_change_that_the_line_does_not_show_is_told() -> None:
    old, new = (NftTable(netns=OVERLAY, family="inet", body=text) for text in ("a\n", "b\n"))
    assert op_text(Replace(old, new)) == "~ nft table inet netorch in overlay (1 lines) (changed inside)"


def test_operations_keep_their_order_and_states_are_sorted() -> None:
    vrf = Vrf(vni=5000, ifname="vrf5000", table=5000)
    rule = Rule(version=4, priority=32765, table=255)
    assert explain([Delete(ROUTE), Create(vrf)]) == f"- {ROUTE.text()}\n+ link vrf5000 type vrf table 5000\n"
    assert explain_state({obj.key: obj for obj in (ROUTE, vrf, rule)}) == "".join(f"{obj.text()}\n" for obj in (rule, vrf, ROUTE))
    assert explain([]) == ""
