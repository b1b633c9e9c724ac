"""Filters of devices: what they match and do, what goes with them, what they need, and the filters of other programs."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.drivers.base import Gone
from netorch.plan.diff import diff
from netorch.state.base import KernelObject, Key
from netorch.state.link import AdminUp
from netorch.state.op import Create, Delete, Replace
from netorch.state.tc import (
    EGRESS,
    INGRESS,
    IP,
    IPV6,
    VERIFIED,
    Action,
    Clsact,
    Drop,
    Match,
    Nat,
    OtherPriority,
    Pass,
    Redirect,
    StrangeFilter,
    TcFilter,
)
from tests.contract.kernel.stands import (
    CABLE,
    CLSACT,
    FILTER,
    VNI,
    VRF,
    VXLAN,
    Stand,
    by_key,
    create,
    events_of,
    missing,
    refusals,
    there,
)

DEVICES = (VRF, AdminUp(vni=VNI, ifname=VRF.ifname), VXLAN, *CABLE)
ALL = (*DEVICES, CLSACT, FILTER)
CABLE_CLSACT = Clsact(vni=VNI, ifname=CABLE[0].ifname)
PUBLIC, PRIVATE, OTHER = "198.51.100.5", "10.0.1.5", "10.0.1.6"
GATEWAY = "02:4f:00:00:13:88"


def on_vxlan(step: int, match: Match | OtherPriority, *actions: Action) -> TcFilter:
    return TcFilter(vni=VNI, ifname=VXLAN.ifname, step=step, match=match, actions=actions)


def on_cable(hook: str, step: int, match: Match, *actions: Action) -> TcFilter:
    return TcFilter(vni=VNI, ifname=CABLE[0].ifname, hook=hook, step=step, match=match, actions=actions)


INTO = on_cable(INGRESS, 10, Match(protocol=IP, dst=f"{PUBLIC}/32"), Nat(INGRESS, f"{PUBLIC}/32", PRIVATE))
OUT_OF = on_cable(EGRESS, 10, Match(protocol=IP, src=f"{PRIVATE}/32"), Nat(EGRESS, f"{PRIVATE}/32", PUBLIC))
LEAVES = on_vxlan(10, Match(protocol=IP, dst_mac=GATEWAY), Redirect(CABLE[0].ifname, EGRESS))
NETWORK_6 = "2001:db8:5::/64"
# An internet gateway: all kinds of matches and actions, on both hooks of a device.
GATEWAY_FILTERS = (
    on_vxlan(1, OtherPriority(VERIFIED), Drop()),
    LEAVES,
    on_vxlan(10, Match(protocol=IPV6, dst_mac=GATEWAY, src=NETWORK_6), Redirect(CABLE[0].ifname, EGRESS)),
    on_vxlan(20, Match(dst_mac=GATEWAY), Drop()),
    on_cable(INGRESS, 5, Match(protocol=IP, src="10.0.0.0/16"), Drop()),
    on_cable(INGRESS, 5, Match(protocol=IPV6, src="2001:db8:5::/56"), Drop()),
    INTO,
    on_cable(INGRESS, 10, Match(protocol=IPV6, dst=NETWORK_6), Pass()),
    on_cable(INGRESS, 20, Match(), Drop()),
    OUT_OF,
    on_cable(EGRESS, 11, Match(protocol=IP, src="10.0.0.0/16", dst="10.9.0.0/17"), Nat(EGRESS, "10.0.0.0/16", "100.66.0.0")),
    on_cable(EGRESS, 12, Match(protocol=IP, src="192.0.0.8/32", dst="10.9.0.0/17", ip_proto=1), Pass()),
    on_cable(EGRESS, 13, Match(protocol=IPV6, ip_proto=58), Drop()),
    on_cable(EGRESS, 20, Match(protocol=IP), Drop()),
    on_cable(EGRESS, 20, Match(protocol=IPV6, src=NETWORK_6, dst="2001:db8::1/128", dst_mac=GATEWAY), Pass()),
)
GATEWAY_OBJECTS = (*DEVICES, CLSACT, CABLE_CLSACT, *GATEWAY_FILTERS)


def theirs_at(pref: int, handle: int) -> StrangeFilter:
    what = "matchall of another kind or protocol"
    return StrangeFilter(vni=VNI, ifname=FILTER.ifname, hook=INGRESS, pref=pref, handle=handle, what=what)


def found_of(stand: Stand, *wanted: KernelObject) -> dict[Key, KernelObject]:
    """Return the objects with the keys of `wanted`, and all filters."""
    keys = by_key(*wanted)
    return {key: obj for key, obj in stand.kernel.dump().items() if key in keys or isinstance(obj, TcFilter | StrangeFilter)}


def test_filters_of_all_kinds_are_read_back_as_they_were_asked_for(stand: Stand) -> None:
    create(stand.kernel, *GATEWAY_OBJECTS)
    found = [obj for obj in stand.kernel.dump().values() if isinstance(obj, TcFilter | StrangeFilter)]
    assert sorted(found, key=lambda obj: obj.key) == sorted(GATEWAY_FILTERS, key=lambda obj: obj.key)
    create(stand.kernel, *GATEWAY_FILTERS)
    assert missing(stand.kernel, *GATEWAY_OBJECTS) == [], "made twice they are the same"
    assert stand.kernel.apply([Delete(obj) for obj in GATEWAY_FILTERS]) == []
    assert not any(there(stand.kernel, obj) for obj in GATEWAY_FILTERS)


@pytest.mark.parametrize("filtered", [FILTER, *GATEWAY_FILTERS], ids=lambda obj: obj.text()[11:])
def test_a_filter_that_somebody_deletes_is_missed_by_its_key(stand: Stand, filtered: TcFilter) -> None:
    create(stand.kernel, *GATEWAY_OBJECTS, FILTER)
    stand.kernel.events()
    stand.foreigner_deletes(filtered)
    assert events_of(stand.kernel) == [Gone(filtered.key, VNI)]
    assert missing(stand.kernel, *GATEWAY_OBJECTS, FILTER) == [Create(filtered)]


@pytest.mark.parametrize(
    ("old", "actions"),
    [
        (INTO, (Nat(INGRESS, f"{PUBLIC}/32", OTHER),)),
        (OUT_OF, (Nat(EGRESS, f"{PRIVATE}/32", "198.51.100.6"), Redirect(CABLE[1].ifname, EGRESS))),
        (LEAVES, (Redirect(CABLE[0].ifname, INGRESS),)),
        (GATEWAY_FILTERS[0], (Pass(),)),
    ],
    ids=["address", "more actions", "hook", "verdict"],
)
def test_what_a_filter_does_is_changed_in_place(stand: Stand, old: TcFilter, actions: tuple[Action, ...]) -> None:
    create(stand.kernel, *GATEWAY_OBJECTS)
    new = msgspec.structs.replace(old, actions=actions)
    desired = [new if obj is old else obj for obj in GATEWAY_OBJECTS]
    ops = diff(by_key(*desired), by_key(*GATEWAY_OBJECTS))
    assert ops == [Replace(old, new)]
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *desired) == []


def test_two_filters_exchange_what_they_take(stand: Stand) -> None:
    """Linux accepts a filter whose match is changed to that of another filter; the changed filter then matches nothing."""
    create(stand.kernel, *ALL)
    before = [on_vxlan(10, Match(protocol=IP, src=f"{src}/32"), Nat(EGRESS, f"{src}/32", PUBLIC)) for src in (PRIVATE, OTHER)]
    after = [msgspec.structs.replace(old, match=new.match) for old, new in zip(before, reversed(before), strict=True)]
    create(stand.kernel, *before)
    ops = diff(by_key(*after), by_key(*before))
    assert all(isinstance(op, Replace) and op.old.key == op.obj.key and op.obj in after for op in ops), (
        "only what they do changes"
    )
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *after) == []


def test_a_thousand_addresses_at_one_step_have_handles_of_their_own(stand: Stand) -> None:
    addresses = [f"198.51.{number >> 8}.{number & 255}" for number in range(1000)]
    many = [on_vxlan(10, Match(protocol=IP, dst=f"{each}/32"), Nat(INGRESS, f"{each}/32", PRIVATE)) for each in addresses]
    assert len({obj.pref for obj in many}) == 1
    create(stand.kernel, *ALL, *many)
    assert missing(stand.kernel, *ALL, *many) == []
    assert stand.kernel.apply([Delete(obj) for obj in many[::2]]) == []
    found = stand.kernel.dump()
    assert [obj.key in found for obj in many] == [False, True] * 500


def test_a_filter_without_clsact_is_refused(stand: Stand) -> None:
    create(stand.kernel, *DEVICES)
    assert refusals(stand.kernel, Create(FILTER)) == [(FILTER, errno.EINVAL)]
    assert stand.kernel.apply([Delete(FILTER), Delete(CLSACT)]) == [], "that they are gone is no error"


def test_clsact_takes_its_filters_along(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert stand.kernel.apply([Delete(CLSACT)]) == []
    assert not there(stand.kernel, FILTER)
    create(stand.kernel, CLSACT, FILTER)
    assert missing(stand.kernel, *ALL) == []


@pytest.mark.parametrize("leads", [FILTER, LEAVES], ids=[INGRESS, EGRESS])
def test_a_filter_leads_to_a_cable_that_is_made_again(stand: Stand, leads: TcFilter) -> None:
    wanted = (*DEVICES, CLSACT, leads)
    create(stand.kernel, *wanted)
    ops = diff(by_key(*wanted), by_key(*(obj for obj in wanted if obj not in CABLE)))
    assert {op.obj.key for op in ops} == {obj.key for obj in (*CABLE, leads)}, "what is remembered of it went with the old cable"
    stand.foreigner_deletes(CABLE[0])
    events_of(stand.kernel)
    found = found_of(stand, *wanted)
    assert found.get(leads.key) != leads, "it leads nowhere"
    assert stand.kernel.apply(diff(by_key(*wanted), found)) == []
    assert missing(stand.kernel, *wanted) == []


def test_somebody_elses_filter_is_seen_and_removed(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    stand.foreigner_filters(theirs_at(pref=1, handle=5))
    assert events_of(stand.kernel)
    theirs = stand.kernel.dump()[theirs_at(pref=1, handle=5).key]
    assert isinstance(theirs, StrangeFilter)
    assert "matchall" in theirs.text()
    assert stand.kernel.apply(diff({}, by_key(theirs))) == []
    assert not there(stand.kernel, theirs)
    assert missing(stand.kernel, *ALL) == []


def test_somebody_elses_filter_in_the_place_of_ours_gives_way(stand: Stand) -> None:
    create(stand.kernel, *DEVICES, CLSACT)
    stand.foreigner_filters(theirs_at(FILTER.pref, FILTER.handle))
    assert stand.kernel.apply(diff(by_key(*ALL), found_of(stand, *ALL))) == []
    assert missing(stand.kernel, *ALL) == []


def test_somebody_elses_filter_of_our_pref_is_in_the_way_until_it_is_removed(stand: Stand) -> None:
    create(stand.kernel, *DEVICES, CLSACT)
    stand.foreigner_filters(theirs_at(FILTER.pref, handle=5))
    ops = diff(by_key(*ALL), found_of(stand, *ALL))
    assert refusals(stand.kernel, *ops) == [(FILTER, errno.EINVAL)]
    assert stand.kernel.apply(diff(by_key(*ALL), found_of(stand, *ALL))) == []
    assert missing(stand.kernel, *ALL) == []


def test_what_we_filter_is_no_news(stand: Stand) -> None:
    create(stand.kernel, *ALL[:-2])
    stand.kernel.events()
    create(stand.kernel, CLSACT, FILTER)
    assert stand.kernel.apply([Delete(FILTER)]) == []
    assert events_of(stand.kernel, within_s=0.2) == []
