"""A table of the kernel is full: the VPC that needs room is reported, the others stay, and it is complete once there is room."""

from __future__ import annotations

import errno

import pytest

from netorch.records import keys
from netorch.state.op import Create
from tests.unit.agent.world import World

# All kinds of objects that a VPC has on a hypervisor, except those that live in a daemon's memory.
KINDS = (
    "addr",
    "fdb",
    "gro",
    "link",
    "neigh",
    "nft-chain",
    "nft-element",
    "nft-rules",
    "nft-set",
    "route",
    "settings",
    "sysctl",
    "up",
)
FULL_S = 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_table_costs_only_the_vpc_that_needs_room(world: World, kind: str) -> None:
    (first, one), (_, two) = world.vpc("a", ipv6="fd00::/56"), world.vpc("b", ipv6="fd00::/56")
    world.run(one, "hv1")
    world.settle(3)
    kernel = world.kernels["hv1"]
    before = {key: obj for key, obj in kernel.objects.items() if obj.vni == first.vni}
    world.new_ops("hv1")
    kernel.fail_next(kind, errno.ENOSPC, times=1_000_000)
    late = world.run(two, "hv1")
    world.run(two, "hv2")
    world.settle(FULL_S)
    said = world.store.get(keys.vpc_status("hv1", late.eni.vni))
    assert said is not None
    assert b"No space left on device" in said.value
    tries = 1_000_000 - len(kernel.host.failures[kind])
    kernel.host.failures.clear()
    assert before.items() <= kernel.objects.items(), "the other VPC stays"
    assert all(isinstance(op, Create) or op.obj.vni == late.eni.vni for op in world.new_ops("hv1"))
    world.settle(40)
    assert world.store.get(keys.vpc_status("hv1", late.eni.vni)) is None
    assert tries < 30 * sum(obj.kind == kind and obj.vni == late.eni.vni for obj in kernel.objects.values()), (
        "less and less often"
    )
    world.assert_settled()
