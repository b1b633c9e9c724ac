"""Tunnels, and what VLAN devices share with them: created in the outside namespace, used in a VPC's VRF."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject, Key
from netorch.state.link import IncompleteLink
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete, Replace
from netorch.state.rooted import Vlan, Xfrm
from tests.contract.kernel.rooted.objects import (
    ALL,
    HOST,
    INNER,
    OTHER_VRF,
    PORT,
    PORT_MTU,
    ROOTED,
    TUNNEL,
    UPLINK,
    VLAN,
    VRFS,
    through,
)
from tests.contract.kernel.stands import VRF, Stand, by_key, create, events_of, missing, news, refusals, there

Rooted = Xfrm | Vlan
each = pytest.mark.parametrize("device", [TUNNEL, VLAN, INNER], ids=["tunnel", "vlan", "inner vlan"])


@pytest.fixture
def host(stand: Stand) -> Stand:
    """A host with an uplink for tunnels and VLAN devices, and a VPC."""
    stand.host_gets(PORT, PORT_MTU)
    create(stand.kernel, *HOST, *VRFS)
    return stand


@pytest.fixture
def working(host: Stand) -> Stand:
    create(host.kernel, *(obj for obj in ALL if obj not in (*HOST, *VRFS)))
    return host


def restore(stand: Stand) -> None:
    """Apply the plan of an agent, and check that everything is as wanted afterwards."""
    wanted = by_key(*ALL)
    found = {key: obj for key, obj in stand.kernel.dump().items() if key in wanted or isinstance(obj, IncompleteLink)}
    assert [str(failure.error) for failure in stand.kernel.apply(diff(wanted, found))] == []
    assert missing(stand.kernel, *ALL) == []
    assert not incomplete(stand)


def incomplete(stand: Stand) -> list[KernelObject]:
    return [obj for obj in stand.kernel.dump().values() if isinstance(obj, IncompleteLink)]


def test_they_are_made_and_read_back(working: Stand) -> None:
    assert missing(working.kernel, *ALL) == []
    assert not incomplete(working)


def test_what_we_do_to_them_is_no_news(host: Stand) -> None:
    host.kernel.events()
    create(host.kernel, *(obj for obj in ALL if obj not in (*HOST, *VRFS)))
    assert news(host.kernel) == []


def test_a_restarted_agent_reads_them(working: Stand) -> None:
    before = working.kernel.dump()
    with working.restarted() as kernel:
        assert kernel.dump() == before


def test_making_one_that_is_there_changes_nothing(working: Stand) -> None:
    assert working.kernel.apply([Create(device) for device in ROOTED]) == []
    assert missing(working.kernel, *ALL) == []


@each
@pytest.mark.parametrize("change", [{"mtu": 1300}, {"group": 5}, {"vrf": OTHER_VRF.ifname}], ids=str)
def test_they_are_changed_where_they_stand(working: Stand, device: Rooted, change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(device, **change)
    wanted = by_key(*ALL, changed)
    ops = diff(wanted, by_key(*ALL))
    assert Replace(device, changed) in ops
    assert working.kernel.apply(ops) == []
    assert missing(working.kernel, *wanted.values()) == []


@each
def test_one_of_another_root_is_another_device(working: Stand, device: Rooted) -> None:
    number = {"if_id": 7} if isinstance(device, Xfrm) else {"vlan": 7}
    other = msgspec.structs.replace(device, **number)
    wanted = by_key(*ALL, other)
    ops = diff(wanted, by_key(*ALL))
    assert Delete(device) in ops
    assert working.kernel.apply(ops) == []
    assert missing(working.kernel, *wanted.values()) == []


@each
@pytest.mark.parametrize("change", [{"mtu": 1300}, {"group": 5}, {"vrf": OTHER_VRF.ifname}], ids=str)
def test_one_that_somebody_changes_is_changed_back_with_what_it_lost(
    working: Stand, device: Rooted, change: dict[str, object]
) -> None:
    working.kernel.events()
    working.foreigner_changes(msgspec.structs.replace(device, **change))
    assert events_of(working.kernel)
    assert device.key in {op.obj.key for op in missing(working.kernel, *ALL)}
    restore(working)


@each
def test_one_that_somebody_deletes_renames_or_carries_off_comes_back(working: Stand, device: Rooted) -> None:
    for hide in (working.foreigner_deletes, working.foreigner_renames, working.foreigner_carries_off):
        working.kernel.events()
        hide(device)
        assert events_of(working.kernel)
        assert not there(working.kernel, device)
        restore(working)


@each
def test_one_that_somebody_else_has_made_is_in_the_way_and_stays(host: Stand, device: Rooted) -> None:
    host.foreigner_makes(device)
    assert refusals(host.kernel, Create(device)) == [(device, errno.EEXIST)]
    assert host.foreigner_has(device)
    assert not there(host.kernel, device)
    assert not incomplete(host)


@each
def test_two_of_one_root_cannot_be(host: Stand, device: Rooted) -> None:
    twin = msgspec.structs.replace(device, ifname=device.ifname[:-1] + "9")
    create(host.kernel, device)
    assert refusals(host.kernel, Create(twin)) == [(twin, errno.EEXIST)]
    assert missing(host.kernel, device) == []


@each
def test_one_without_its_vrf_is_refused(host: Stand, device: Rooted) -> None:
    homeless = msgspec.structs.replace(device, vrf="vrf5000.9")
    assert refusals(host.kernel, Create(homeless)) == [(homeless, errno.ENODEV)]
    assert not there(host.kernel, homeless)
    create(host.kernel, device)


@each
def test_a_vrf_leaves_them_behind_without_their_routes(working: Stand, device: Rooted) -> None:
    assert working.kernel.apply([Delete(VRF)]) == []
    assert working.kernel.dump()[device.key] == msgspec.structs.replace(device, vrf="")
    restore(working)


@each
def test_one_that_is_deleted_takes_its_own_things_along(working: Stand, device: Rooted) -> None:
    own = (device, *through(device, ROOTED.index(device)))
    assert working.kernel.apply([Delete(device), Delete(device)]) == []
    assert not [obj for obj in own if there(working.kernel, obj)]
    assert missing(working.kernel, *(obj for obj in ALL if obj not in own)) == []


def test_they_go_when_the_outside_goes(working: Stand) -> None:
    assert working.kernel.apply([Delete(Namespace(label=OUTSIDE))]) == []
    assert not [obj for obj in ROOTED if there(working.kernel, obj)]
    assert working.has_device(PORT)
    assert missing(working.kernel, *VRFS) == []
    restore(working)


def test_they_are_refused_without_the_outside(stand: Stand) -> None:
    create(stand.kernel, *VRFS)
    for device in (TUNNEL, VLAN):
        assert refusals(stand.kernel, Create(device)) == [(device, errno.ENOENT)]


def test_an_agent_takes_all_away_that_nobody_asks_for(working: Stand) -> None:
    rest: dict[Key, KernelObject] = by_key(*VRFS)
    assert working.kernel.apply(diff(rest, by_key(*ALL))) == []
    assert not [obj for obj in ALL if there(working.kernel, obj) and obj not in VRFS]
    assert working.has_device(UPLINK.ifname)
