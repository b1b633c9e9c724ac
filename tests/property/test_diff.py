"""Laws of the plan, for random compiled states on a kernel that refuses what Linux refuses."""

from __future__ import annotations

from collections.abc import Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.compiler.registry import Objects
from netorch.plan.diff import diff
from netorch.state.base import KernelObject, Key, up_key
from netorch.state.nft import NftElement
from netorch.state.op import Create, Delete, Replace
from tests.golden.clouds import CloudCase, compiled, kept
from tests.property.dict_kernel import DictKernel
from tests.property.strategies import HOSTS, clouds, drifted, with_policy

pytestmark = pytest.mark.slow

hosts = st.sampled_from(sorted(HOSTS))


def state(data: st.DataObject, host: str) -> Objects:
    """Return the objects of a host in some cloud, with policy."""
    return with_policy(compiled(data.draw(clouds()), host))


def unlike(wanted: Objects, found: Objects) -> list[KernelObject | Key]:
    """Return the objects that are missing or differ, and the keys that should not exist."""
    return [obj for key, obj in wanted.items() if key not in found or not obj.matches(found[key])] + [
        key for key in found if key not in wanted
    ]


@given(st.data(), hosts)
def test_no_difference_of_a_state_from_itself(data: st.DataObject, host: str) -> None:
    objects = state(data, host)
    assert diff(objects, dict(objects)) == []


@given(st.data(), hosts)
def test_applying_the_difference_of_two_clouds_turns_one_into_the_other(data: st.DataObject, host: str) -> None:
    before, after = state(data, host), state(data, host)
    found = DictKernel(before).run(diff(after, before))
    assert unlike(after, found) == []


@given(st.data(), hosts)
def test_applying_the_difference_repairs_any_drift(data: st.DataObject, host: str) -> None:
    objects = state(data, host)
    found = data.draw(drifted(objects))
    assert unlike(objects, DictKernel(found).run(diff(objects, found))) == []


@given(st.data(), hosts)
def test_a_meddled_host_gets_to_another_cloud_in_one_go(data: st.DataObject, host: str) -> None:
    before, after = state(data, host), state(data, host)
    found = data.draw(drifted(before))
    assert unlike(after, DictKernel(found).run(diff(after, found))) == []


@given(st.data(), hosts)
def test_an_interrupted_plan_is_completed_by_the_next(data: st.DataObject, host: str) -> None:
    before, after = state(data, host), state(data, host)
    ops = diff(after, before)
    kernel = DictKernel(before)
    kernel.run(ops[: data.draw(st.integers(0, len(ops)))])
    assert unlike(after, kernel.run(diff(after, kernel.objects))) == []


@given(st.data(), hosts)
def test_creations_come_in_apply_order_and_deletions_in_the_opposite_one(data: st.DataObject, host: str) -> None:
    before, after = state(data, host), state(data, host)
    ops = diff(after, before)
    deletions = [op for op in ops if isinstance(op, Delete) and op.obj.key not in after]
    creations = [op for op in ops if not isinstance(op, Delete)]
    making_room = [op for op in ops if isinstance(op, Delete) and op.obj.key in after]
    assert ops == [*making_room, *creations, *deletions]
    moved = {op.obj.key for op in creations if isinstance(op, Replace) and op.obj.has_children and op.obj.parent != op.old.parent}
    places = [
        (_device(op.obj, moved), op.obj.order_of_change(op.old) if isinstance(op, Replace) else op.obj.order) for op in creations
    ]
    assert places == sorted(places), "what stands on devices that get another master comes last, one device after the other"
    assert [op.obj.order for op in deletions] == sorted((op.obj.order for op in deletions), reverse=True)


@given(clouds(), hosts)
def test_policy_stands_before_a_port_comes_up_and_the_port_before_its_route(cloud: CloudCase, host: str) -> None:
    born = [op.obj for op in diff(with_policy(compiled(cloud, host)), {}) if isinstance(op, Create)]
    place = {obj.key: i for i, obj in enumerate(born)}
    for obj in born:
        if isinstance(obj, NftElement):
            port = str(obj.items[0])
            assert place[obj.key] < place[up_key(port)]
            routes = [other for other in born if other.key[0] == "route" and other.parent == ("link", "overlay", port)]
            assert routes
            assert all(place[up_key(port)] < place[route.key] for route in routes)


@given(st.data(), hosts)
def test_what_is_kept_is_left_alone(data: st.DataObject, host: str) -> None:
    before, cloud = state(data, host), data.draw(clouds())
    after, keep = with_policy(compiled(cloud, host)), kept(cloud, host)
    found = data.draw(drifted(after if data.draw(st.booleans()) else before))
    for op in diff(after, found, keep):
        assert op.obj.key not in keep
        assert op.obj.parent not in keep


def _device(obj: KernelObject, moved: Set[Key]) -> Key:
    """Return the key of the moved device that an object is or depends on, or ()."""
    return obj.key if obj.key in moved else obj.parent if obj.parent is not None and obj.parent in moved else ()
