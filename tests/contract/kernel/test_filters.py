"""Filters at a device's ingress: what they take along, what they need, and those of somebody else's."""

from __future__ import annotations

import errno

import msgspec

from netorch.plan.diff import diff
from netorch.state.link import AdminUp
from netorch.state.op import Create, Delete
from netorch.state.tc import TcFilter
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

ALL = (VRF, AdminUp(vni=VNI, ifname=VRF.ifname), VXLAN, *CABLE, CLSACT, FILTER)


def test_a_filter_without_clsact_is_refused(stand: Stand) -> None:
    create(stand.kernel, *(obj for obj in ALL if obj not in (CLSACT, FILTER)))
    assert refusals(stand.kernel, Create(FILTER)) == [(FILTER, errno.EINVAL)]
    assert stand.kernel.apply([Delete(FILTER), Delete(CLSACT)]) == [], "that they are gone is no error"


def test_clsact_takes_its_filters_along(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert stand.kernel.apply([Delete(CLSACT)]) == []
    assert not there(stand.kernel, FILTER)
    create(stand.kernel, CLSACT, FILTER)
    assert missing(stand.kernel, *ALL) == []


def test_filters_of_one_pref_are_told_apart_by_their_handles(stand: Stand) -> None:
    others = [msgspec.structs.replace(FILTER, handle=number, dst_mac=f"06:00:00:00:01:{number:02x}") for number in (1, 2)]
    last = msgspec.structs.replace(FILTER, handle=0x7FFFFFFF, dst_mac="06:00:00:00:02:00")
    create(stand.kernel, *ALL, *others, last)
    assert missing(stand.kernel, *ALL, *others, last) == []
    assert stand.kernel.apply([Delete(others[0])]) == []
    assert not there(stand.kernel, others[0])
    assert missing(stand.kernel, *ALL, others[1], last) == []


def test_a_filter_leads_to_a_cable_that_is_made_again(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    ops = diff(by_key(*ALL), by_key(*(obj for obj in ALL if obj not in CABLE)))
    assert {op.obj.key for op in ops} == {obj.key for obj in (*CABLE, FILTER)}, "what is remembered of it went with the old cable"
    stand.foreigner_deletes(CABLE[0])
    events_of(stand.kernel)
    found = {key: obj for key, obj in stand.kernel.dump().items() if key in by_key(*ALL)}
    assert found.get(FILTER.key) != FILTER, "it leads nowhere"
    assert stand.kernel.apply(diff(by_key(*ALL), found)) == []
    assert missing(stand.kernel, *ALL) == []


def test_somebody_elses_filter_is_seen_and_removed(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    place = msgspec.structs.replace(FILTER, pref=1, handle=5)
    stand.foreigner_filters(place)
    assert events_of(stand.kernel)
    theirs = stand.kernel.dump()[place.key]
    assert isinstance(theirs, TcFilter)
    assert theirs.strange.startswith("matchall")
    assert "matchall" in theirs.text()
    assert stand.kernel.apply(diff({}, by_key(theirs))) == []
    assert not there(stand.kernel, theirs)
    assert missing(stand.kernel, *ALL) == []


def test_what_we_filter_is_no_news(stand: Stand) -> None:
    create(stand.kernel, *ALL[:-2])
    stand.kernel.events()
    create(stand.kernel, CLSACT, FILTER)
    assert stand.kernel.apply([Delete(FILTER)]) == []
    assert events_of(stand.kernel, within_s=0.2) == []
