"""Namespaces that are created and deleted, their contents, and cables that lead into them."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.drivers.base import Gone, Lost
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, OVERLAY, KernelObject
from netorch.state.l3 import IPV6_METRIC, MAIN_TABLE, UNREACHABLE, Address, Neighbour, Route
from netorch.state.link import LOOPBACK, AdminUp, CableEnd, Sysctl
from netorch.state.names import outside_cable
from netorch.state.netns import Namespace
from netorch.state.nft import NftElement, NftTable
from netorch.state.op import Create, Delete, Replace
from netorch.state.sysctls import CABLE_V6, PORT_V4, device_sysctls, namespace_sysctls
from tests.contract.kernel.stands import (
    FLOW,
    LAST_ROUTE,
    MAC,
    PORT_MAC,
    TABLES,
    VNI,
    VRF,
    Stand,
    by_key,
    create,
    events_of,
    missing,
    news,
    refusals,
    there,
)

NAT = "nat-00138800000000abc"
INNER, OUTER = outside_cable(VNI, "igw-00138800000000abc")
PORT = "v-0013880000009"

OUTSIDE_NAMESPACE, NAT_NAMESPACE = Namespace(label=OUTSIDE), Namespace(vni=VNI, label=NAT)
CABLE = (
    CableEnd(vni=VNI, ifname=INNER, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000", peer=OUTER, peer_netns=OUTSIDE),
    CableEnd(netns=OUTSIDE, vni=VNI, ifname=OUTER, lladdr="02:4f:00:00:0a:bc", mtu=1500, vrf="", peer=INNER),
)
INTO_NAT = (
    CableEnd(vni=VNI, ifname=PORT, lladdr=PORT_MAC, mtu=1500, vrf="vrf5000", peer="eth0", peer_netns=NAT),
    CableEnd(netns=NAT, vni=VNI, ifname="eth0", lladdr=MAC, mtu=1500, vrf="", peer=PORT),
)
BODY = """
set inside-001388 {
    type ipv4_addr
}
chain forward {
    type filter hook forward priority 0; policy drop;
    ip saddr @inside-001388 accept
}
"""
OF_OUTSIDE: tuple[KernelObject, ...] = (
    *namespace_sysctls(OUTSIDE),
    NftTable(netns=OUTSIDE, family="inet", body=BODY),
    AdminUp(netns=OUTSIDE, ifname=LOOPBACK),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="198.51.100.0/24", type=UNREACHABLE),
    Route(netns=OUTSIDE, table=MAIN_TABLE, dst="2001:db8::/32", type=UNREACHABLE, metric=IPV6_METRIC),
)
THROUGH: tuple[KernelObject, ...] = (
    *CABLE,
    NftElement(netns=OUTSIDE, family="inet", set="inside-001388", items=("10.0.0.5",), vni=VNI),
    AdminUp(vni=VNI, ifname=INNER),
    AdminUp(netns=OUTSIDE, vni=VNI, ifname=OUTER),
    Neighbour(netns=OUTSIDE, vni=VNI, ifname=OUTER, dst="192.0.0.8", lladdr=PORT_MAC),
    Route(netns=OUTSIDE, vni=VNI, table=MAIN_TABLE, dst="198.51.100.5/32", ifname=OUTER, via="192.0.0.8"),
)
OF_NAT: tuple[KernelObject, ...] = (
    *namespace_sysctls(NAT),
    NftTable(netns=NAT, vni=VNI, family="ip", body=BODY),
    AdminUp(netns=NAT, vni=VNI, ifname=LOOPBACK),
    *INTO_NAT,
    *device_sysctls(PORT_V4, PORT, VNI),
    *device_sysctls(CABLE_V6, "eth0", VNI, NAT),
    Address(netns=NAT, vni=VNI, ifname="eth0", address="10.0.0.99/32"),
    AdminUp(vni=VNI, ifname=PORT),
    AdminUp(netns=NAT, vni=VNI, ifname="eth0"),
    Neighbour(netns=NAT, vni=VNI, ifname="eth0", dst="10.0.0.1", lladdr=PORT_MAC),
    Route(vni=VNI, table=VNI, dst="10.0.0.99/32", ifname=PORT),
    Route(netns=NAT, vni=VNI, table=MAIN_TABLE, dst="0.0.0.0/0", ifname="eth0", via="10.0.0.1"),
)
ALL: tuple[KernelObject, ...] = (
    OUTSIDE_NAMESPACE,
    NAT_NAMESPACE,
    *TABLES,
    VRF,
    AdminUp(vni=VNI, ifname=VRF.ifname),
    LAST_ROUTE,
    *OF_OUTSIDE,
    *THROUGH,
    *OF_NAT,
)
NEW = (OUTSIDE, NAT)


def test_what_is_in_further_namespaces_is_read_back(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert missing(stand.kernel, *ALL) == []
    found = stand.kernel.dump()
    unasked = {obj.text() for key, obj in found.items() if obj.netns in NEW and key not in by_key(*ALL)}
    assert unasked <= {f"settings of {ifname}:" for ifname in (OUTER, "eth0")}
    assert {obj.vni for obj in found.values() if obj.netns == NAT} == {VNI}


def test_a_plan_makes_namespaces_before_what_is_in_them(stand: Stand) -> None:
    assert stand.kernel.apply(diff(by_key(*ALL), {})) == []
    assert missing(stand.kernel, *ALL) == []


def test_a_restarted_agent_reads_the_same(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    before = stand.kernel.dump()
    with stand.restarted() as kernel:
        assert kernel.dump() == before
        assert diff(by_key(*ALL), {key: obj for key, obj in kernel.dump().items() if key in by_key(*ALL)}) == []


@pytest.mark.parametrize("done", range(1, len(THROUGH + OF_NAT), 4))
def test_an_agent_that_ended_anywhere_in_between_is_continued(stand: Stand, done: int) -> None:
    base = tuple(obj for obj in ALL if obj not in (*THROUGH, *OF_NAT))
    create(stand.kernel, *base, *(*THROUGH, *OF_NAT)[:done])
    with stand.restarted() as kernel:
        found = {key: obj for key, obj in kernel.dump().items() if key in by_key(*ALL)}
        assert kernel.apply(diff(by_key(*ALL), found)) == []
        assert missing(kernel, *ALL) == []


def test_a_namespace_takes_along_what_is_in_it(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    assert stand.kernel.apply([Delete(NAT_NAMESPACE)]) == []
    left = stand.kernel.dump()
    assert not [obj for obj in left.values() if obj.netns == NAT]
    assert not [obj for obj in (*INTO_NAT, NAT_NAMESPACE) if obj.key in left]
    assert missing(stand.kernel, *(obj for obj in ALL if obj not in (NAT_NAMESPACE, *OF_NAT))) == []
    create(stand.kernel, NAT_NAMESPACE, *OF_NAT)
    assert missing(stand.kernel, *ALL) == []


def test_what_goes_with_a_namespace_and_is_of_another_vpc_is_told(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    assert stand.kernel.apply([Delete(OUTSIDE_NAMESPACE)]) == []
    gone = {Gone(obj.key, obj.vni) for obj in THROUGH if obj.netns == OUTSIDE}
    events = set(events_of(stand.kernel))
    assert gone <= events or Lost() in events
    assert not [obj for obj in stand.kernel.dump().values() if obj.netns == OUTSIDE or obj in CABLE]


def test_a_namespace_that_somebody_deletes_is_restored(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    for label in NEW:
        stand.foreigner_deletes_namespace(label)
        events_of(stand.kernel)
        assert stand.kernel.apply(missing(stand.kernel, *ALL)) == []
        assert missing(stand.kernel, *ALL) == []
    with stand.restarted() as kernel:
        assert missing(kernel, *ALL) == []


@pytest.mark.parametrize("end", [*CABLE, *INTO_NAT], ids=lambda end: str(end.ifname))
def test_an_end_that_somebody_deletes_comes_back_with_the_other(stand: Stand, end: CableEnd) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    stand.foreigner_deletes(end)
    assert events_of(stand.kernel)
    ops = missing(stand.kernel, *ALL)
    assert {Create(end), Create(next(other for other in (*CABLE, *INTO_NAT) if other.key == end.needs))} <= set(ops)
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *ALL) == []


@pytest.mark.parametrize("end", [*CABLE, *INTO_NAT], ids=lambda end: str(end.ifname))
def test_the_ends_go_together_and_are_no_news(stand: Stand, end: CableEnd) -> None:
    create(stand.kernel, *ALL)
    ends = next(pair for pair in (CABLE, INTO_NAT) if end in pair)
    gone = by_key(*ALL).keys() - diff_left(ends)
    stand.kernel.events()
    assert stand.kernel.apply([Delete(each) for each in (end, *ends) if each in ends]) == []
    assert not [key for key in gone if key in stand.kernel.dump()]
    assert Lost() not in events_of(stand.kernel, within_s=0.2)


def diff_left(ends: tuple[CableEnd, ...]) -> set[object]:
    names = {(end.netns, end.ifname) for end in ends}
    return {obj.key for obj in ALL if (obj.netns, getattr(obj, "ifname", "")) not in names}


@pytest.mark.parametrize(
    "victim",
    [obj for obj in (*OF_OUTSIDE, *THROUGH, *OF_NAT) if isinstance(obj, Address | Neighbour | Route | NftElement | NftTable)],
    ids=lambda obj: f"{obj.netns}-{obj.text()}"[:40],
)
def test_what_somebody_deletes_in_a_namespace_is_an_event_and_comes_back(stand: Stand, victim: KernelObject) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    stand.foreigner_deletes(victim)
    assert [event for event in events_of(stand.kernel) if isinstance(event, Gone | Lost)]
    ops = missing(stand.kernel, *ALL)
    assert Create(victim) in ops
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *ALL) == []


def test_a_gateway_tracks_connections_of_its_own(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert stand.kernel.trackers.keys() == {OVERLAY, NAT}
    flow = msgspec.structs.replace(FLOW, zone=0)
    stand.kernel.trackers[NAT].restore([flow])
    assert stand.kernel.trackers[NAT].use().held == 1
    assert [found.key for found in stand.kernel.trackers[NAT].flows(0)] == [flow.key]
    assert stand.kernel.trackers[OVERLAY].use().held == 0
    assert stand.kernel.apply([Delete(NAT_NAMESPACE)]) == []
    assert stand.kernel.trackers.keys() == {OVERLAY}


def test_a_table_is_replaced_and_keeps_its_elements(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    (old,) = (obj for obj in OF_OUTSIDE if isinstance(obj, NftTable))
    new = msgspec.structs.replace(old, body=BODY + "counter extra {\n}\n")
    assert stand.kernel.apply([Replace(old, new)]) == []
    assert missing(stand.kernel, *(new if obj == old else obj for obj in ALL)) == []


def test_our_own_doing_is_no_news(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert news(stand.kernel) == []


def test_somebody_elses_route_stays(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    theirs = Route(netns=OUTSIDE, table=MAIN_TABLE, dst="203.0.113.0/24", type=UNREACHABLE, metric=77)
    stand.foreigner_makes_route(theirs)
    events_of(stand.kernel, within_s=0.2)
    assert not there(stand.kernel, theirs)
    assert not [obj for obj in stand.kernel.dump().values() if not obj.ours], "daemons may have routes there"
    assert stand.foreigner_has_route(theirs)


def test_nothing_is_made_in_a_namespace_that_is_not_there(stand: Stand) -> None:
    create(stand.kernel, VRF)
    route, sysctl = OF_OUTSIDE[-1], Sysctl(netns=NAT, vni=VNI, path="ipv4/ip_default_ttl", value="64")
    assert refusals(stand.kernel, Create(route), Create(sysctl)) == [(route, errno.ENOENT), (sysctl, errno.ENOENT)]
    assert refusals(stand.kernel, Create(CABLE[0])) == [(CABLE[0], errno.ENOENT)]
    assert not there(stand.kernel, CABLE[0])


def test_what_went_with_a_namespace_is_deleted_already(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert stand.kernel.apply([Delete(OUTSIDE_NAMESPACE), *(Delete(obj) for obj in (*THROUGH, *OF_OUTSIDE))]) == []
    assert missing(stand.kernel, NAT_NAMESPACE, *OF_NAT) == []


def test_an_end_is_changed_in_place(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    for end in (*CABLE, *INTO_NAT):
        smaller = msgspec.structs.replace(end, mtu=1400)
        assert stand.kernel.apply([Replace(end, smaller)]) == []
        assert missing(stand.kernel, *(smaller if obj == end else obj for obj in ALL)) == []
        assert stand.kernel.apply([Replace(smaller, end)]) == []
    assert missing(stand.kernel, *ALL) == []
