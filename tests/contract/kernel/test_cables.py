"""Cables: veth pairs with both ends in the overlay namespace."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.plan.diff import diff
from netorch.state.l3 import Neighbour, Route
from netorch.state.link import AdminUp, CableEnd, IncompleteLink, vrf_of
from netorch.state.op import Create, Delete, Replace
from tests.contract.kernel.stands import CABLE, VNI, VRF, Stand, by_key, create, events_of, missing, news, refusals, there

NEAR, FAR = CABLE
OTHER_VRF = vrf_of(VNI, 1)
VRFS = (VRF, AdminUp(vni=VNI, ifname=VRF.ifname), OTHER_VRF, AdminUp(vni=VNI, ifname=OTHER_VRF.ifname))
UPS = tuple(AdminUp(vni=VNI, ifname=end.ifname) for end in CABLE)
THROUGH = (
    Neighbour(vni=VNI, ifname=NEAR.ifname, dst="192.0.0.9", lladdr=FAR.lladdr),
    Route(vni=VNI, table=VNI, dst="10.9.0.0/16", ifname=NEAR.ifname, via="192.0.0.9"),
)
ALL = (*VRFS, *CABLE, *UPS, *THROUGH)


def test_an_end_brings_the_other_which_is_incomplete(stand: Stand) -> None:
    create(stand.kernel, *VRFS, NEAR)
    found = stand.kernel.dump()
    assert found[NEAR.key] == NEAR
    assert isinstance(found[FAR.key], IncompleteLink)
    assert missing(stand.kernel, *CABLE) == [Replace(found[FAR.key], FAR)]
    assert stand.kernel.apply(missing(stand.kernel, *CABLE)) == []
    assert missing(stand.kernel, *CABLE) == []


@pytest.mark.parametrize("first", CABLE, ids=lambda end: str(end.ifname))
def test_the_ends_are_made_in_either_order(stand: Stand, first: CableEnd) -> None:
    create(stand.kernel, *VRFS, first, *(end for end in CABLE if end != first))
    assert missing(stand.kernel, *CABLE) == []


def test_an_end_without_its_vrf_is_refused_and_the_other_stays(stand: Stand) -> None:
    create(stand.kernel, VRF, NEAR)
    homeless = msgspec.structs.replace(FAR, vrf=OTHER_VRF.ifname)
    assert refusals(stand.kernel, Create(homeless)) == [(homeless, errno.ENODEV)]
    assert missing(stand.kernel, NEAR) == []
    create(stand.kernel, OTHER_VRF, homeless)
    assert missing(stand.kernel, NEAR, homeless) == []


def test_the_ends_go_together(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert stand.kernel.apply([Delete(FAR)]) == []
    left = stand.kernel.dump()
    assert not [obj for obj in (*CABLE, *UPS, *THROUGH) if obj.key in left]
    assert missing(stand.kernel, *VRFS) == []


def test_an_end_that_must_be_made_again_brings_back_all_of_the_cable(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    other = "q-0013880000002"
    wanted = by_key(*VRFS, msgspec.structs.replace(NEAR, peer=other), msgspec.structs.replace(FAR, ifname=other))
    wanted |= by_key(*(AdminUp(vni=VNI, ifname=name) for name in (NEAR.ifname, other)), *THROUGH)
    assert stand.kernel.apply(diff(wanted, by_key(*ALL))) == []
    assert missing(stand.kernel, *wanted.values()) == []
    assert not there(stand.kernel, FAR)


@pytest.mark.parametrize(
    "changed",
    [
        msgspec.structs.replace(NEAR, vrf=OTHER_VRF.ifname),
        msgspec.structs.replace(NEAR, mtu=1400),
        msgspec.structs.replace(NEAR, lladdr="02:4e:54:ff:ff:02"),
        msgspec.structs.replace(NEAR, group=0),
    ],
    ids=["vrf", "mtu", "lladdr", "group"],
)
def test_an_end_that_somebody_changes_is_changed_back_with_what_it_lost(stand: Stand, changed: CableEnd) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    stand.foreigner_changes(changed)
    assert events_of(stand.kernel)
    ops = diff(by_key(*ALL), {key: obj for key, obj in stand.kernel.dump().items() if key in by_key(*ALL)})
    assert Replace(changed, NEAR) in ops
    assert stand.kernel.apply(ops) == []
    assert missing(stand.kernel, *ALL) == []


def test_an_end_that_somebody_deletes_or_hides_comes_back(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    for hide in (stand.foreigner_deletes, stand.foreigner_renames):
        stand.kernel.events()
        hide(FAR)
        assert events_of(stand.kernel)
        found = {key: obj for key, obj in stand.kernel.dump().items() if key in by_key(*ALL) or isinstance(obj, IncompleteLink)}
        assert stand.kernel.apply(diff(by_key(*ALL), found)) == []
        assert missing(stand.kernel, *ALL) == []
        assert not [obj for obj in stand.kernel.dump().values() if isinstance(obj, IncompleteLink)]


def test_what_we_do_to_a_cable_is_no_news(stand: Stand) -> None:
    create(stand.kernel, *VRFS)
    stand.kernel.events()
    create(stand.kernel, *CABLE, *UPS, *THROUGH)
    assert news(stand.kernel) == []
