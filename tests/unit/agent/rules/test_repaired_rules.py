"""Rules that another program altered: what they let in is no longer offloaded once they are restored."""

from __future__ import annotations

import pytest
from msgspec import structs

from netorch.control.actions.groups import create_security_group
from netorch.control.actions.memberships import modify_interface_groups
from netorch.control.actions.permissions import Permission, authorize, revoke
from netorch.drivers.base import Gone, Lost
from netorch.model.ids import port_name
from netorch.model.security import Direction
from netorch.state.nft import NFT_KINDS, Flowtable, FlowtableDevice, NftChain, NftElement
from netorch.state.op import Create, Delete, Op
from tests.unit.agent.world import World

HTTPS = Permission(protocol="tcp", ports=443, peer="10.0.0.0/8")  # tracked: not from every address


def alter(world: World, start: str) -> None:
    """Let a chain of hv1 accept everything, unnoticed."""
    objects = world.kernels["hv1"].objects
    found = next(obj for obj in objects.values() if isinstance(obj, NftChain) and obj.name.startswith(start))
    objects[found.key] = structs.replace(found, rules=("accept", *found.rules))


def emptied(ops: list[Op]) -> bool:
    """Return whether operations make the flowtable again."""
    made = [type(op) for op in ops if isinstance(op.obj, Flowtable)]
    assert made in ([], [Delete, Create])
    return bool(made)


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("start", ["border-", "egress-", "ingress-", "flow-"])
def test_a_restored_chain_empties_the_flowtable_once(world: World, start: str, stopped: bool) -> None:
    _, subnet = world.vpc("a", ipv6="fd00::/56")
    world.run(subnet, "hv1")
    world.settle(5)
    world.new_ops("hv1")
    alter(world, start)
    if stopped:
        world.start("hv1")
    else:
        world.kernels["hv1"].tell(Lost(NFT_KINDS))
    world.turn("hv1")
    assert emptied(world.new_ops("hv1"))
    world.settle(5)
    assert not emptied(world.new_ops("hv1"))
    world.assert_settled()


def test_other_groups_of_a_port_empty_it_even_if_another_program_has_deleted_all_that_named_the_port(world: World) -> None:
    vpc, subnet = world.vpc("a")
    changed, _, third = (world.run(subnet, "hv1").eni for _ in range(3))
    other = create_security_group(world.store, world.operator, vpc.id, name="other")
    modify_interface_groups(world.store, world.operator, third.id, [other.id])  # each set of groups has a port before and after
    world.settle(5)
    objects, names = world.kernels["hv1"].objects, {port_name(changed.id), changed.address}
    for key in [obj.key for obj in objects.values() if isinstance(obj, NftElement) and names & {*obj.items}]:
        del objects[key]
        world.kernels["hv1"].tell(Gone(key, vpc.vni))
    modify_interface_groups(world.store, world.operator, changed.id, [other.id])
    world.new_ops("hv1")
    world.turn("hv1")
    assert emptied(world.new_ops("hv1"))
    world.assert_settled()


@pytest.mark.parametrize("noticed", [False, True], ids=["unaltered", "restored before"])
def test_permissions_that_are_tracked_do_not_empty_the_flowtable(world: World, noticed: bool) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(5)
    if noticed:
        alter(world, "ingress-")
        world.kernels["hv1"].tell(Lost(NFT_KINDS))
        world.settle(5)
    world.new_ops("hv1")
    group = placed.eni.groups[0]
    for change in (authorize, revoke):
        change(world.store, world.operator, group, Direction.INGRESS, [HTTPS])
        world.settle(5)
        ops = world.new_ops("hv1")
        assert any(isinstance(op.obj, NftChain) for op in ops)
        assert not emptied(ops)


def test_permissions_changed_while_no_agent_ran_empty_it(world: World) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(5)
    world.kill("hv1")
    authorize(world.store, world.operator, placed.eni.groups[0], Direction.INGRESS, [HTTPS])
    world.new_ops("hv1")
    world.start("hv1")
    world.settle(5)
    assert emptied(world.new_ops("hv1"))
    world.assert_settled()


def test_a_refused_repair_leaves_the_vpc_in_doubt(world: World) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(5)
    world.new_ops("hv1")
    alter(world, "ingress-")
    world.kernels["hv1"].tell(Lost(NFT_KINDS))
    world.kernels["hv1"].fail_next("nft-rules", 12, times=4)
    world.turn("hv1")
    known = world.agents["hv1"].reconciler.slices[vpc.vni]
    assert known.doubted
    world.new_ops("hv1")
    world.settle(60)
    assert not known.doubted
    assert emptied(world.new_ops("hv1"))
    world.assert_settled()


@pytest.mark.parametrize("dies", [False, True], ids=["runs on", "dies"])
def test_a_flowtable_that_the_kernel_did_not_empty_is_emptied_before_devices_join_it_again(world: World, dies: bool) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(5)
    objects = world.kernels["hv1"].objects
    devices = [obj for obj in objects.values() if isinstance(obj, FlowtableDevice)]
    for device in devices:
        del objects[device.key]
    if dies:
        world.kill("hv1")
    else:
        (flowtable,) = (obj for obj in objects.values() if isinstance(obj, Flowtable))
        world.agents["hv1"].reconciler.slices[vpc.vni].refused([flowtable])
        for device in devices:
            world.kernels["hv1"].tell(Gone(device.key, vpc.vni))
    world.new_ops("hv1")
    if dies:
        world.start("hv1")
    world.settle(5)
    ops = world.new_ops("hv1")
    assert emptied(ops)
    assert {op.obj for op in ops if isinstance(op, Create)} >= set(devices)
    world.assert_settled()
