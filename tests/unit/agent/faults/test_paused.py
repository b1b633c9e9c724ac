"""An agent that stands still for any time (SIGSTOP, a suspended machine) catches up; what stays wanted is not touched."""

from __future__ import annotations

import pytest

from netorch.control.actions.instances import terminate_instance
from netorch.drivers.base import Lost
from netorch.records import keys
from netorch.state.op import Create, Delete
from tests.unit.agent.world import World

DAY_S = 86400.0


@pytest.mark.parametrize("seconds", [16.0, 600.0, 10 * DAY_S])
@pytest.mark.parametrize("what", ["events", "compacted", "overrun", "store away"])
def test_an_agent_that_stood_still_catches_up_and_touches_nothing_that_stays(world: World, seconds: float, what: str) -> None:
    _, subnet = world.vpc("a")
    leaves, stays = world.run(subnet, "hv1"), world.run(subnet, "hv1")
    far = world.run(subnet, "hv2")
    world.settle(3)
    kernel = world.kernels["hv1"]
    before = dict(kernel.objects)
    world.new_ops("hv1")

    world.clock.now += seconds
    assert world.store.get(keys.host_live("hv1")) is None
    terminate_instance(world.store, world.operator, leaves.instance.id)
    terminate_instance(world.store, world.operator, far.instance.id)
    _, other = world.vpc("b")
    world.run(other, "hv1")
    world.turn("hv2")
    damaged = next(obj for key, obj in before.items() if key[0] == "route" and f"{stays.eni.address}/32" in key)
    kernel.disturb(Delete(damaged))
    if what == "compacted":
        world.store.compact(world.store.revision())
    elif what == "overrun":
        kernel.events()
        kernel.tell(Lost())
    elif what == "store away":
        world.wires["hv1"].cut = True
        world.turn("hv1")
        assert kernel.objects.keys() == before.keys(), "repaired, and nothing else"
        world.wires["hv1"].cut = False
        world.clock.now += 20
    world.turn("hv1")

    touched = {op.obj.key for op in world.new_ops("hv1") if not isinstance(op, Create)}
    kept = {key for key, obj in kernel.objects.items() if key in before and obj.matches(before[key])}
    assert touched.isdisjoint(kept)
    assert damaged.key in kernel.objects
    assert world.store.get(keys.host_live("hv1")) is not None
    world.settle(3)
    world.assert_settled()
