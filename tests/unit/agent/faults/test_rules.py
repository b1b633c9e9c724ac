"""A VPC's rules cannot be compiled: the last ones stay in force, so no flowtable passes packets by them, or past new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from netorch.compiler.base import Identity
from netorch.control.actions import groups, memberships
from netorch.errors import CompileError
from netorch.model.ids import vni_of
from netorch.state.nft import FLOW_ADD, FlowtableDevice, NftChain
from policy.identities import own_numbers
from tests.unit.agent.world import World


def offloads(world: World, vni: int) -> tuple[int, bool]:
    """Return how many devices of a VPC are in a flowtable, and whether a chain adds flows."""
    objects = [obj for obj in world.kernels["hv1"].objects.values() if obj.vni == vni]
    chains = [obj for obj in objects if isinstance(obj, NftChain)]
    devices = [obj for obj in objects if isinstance(obj, FlowtableDevice)]
    return len(devices), any(FLOW_ADD in rule for chain in chains for rule in chain.rules)


@pytest.mark.parametrize("broken", ["blake2b", "_chains"], ids=["its name", "its chains, too"])
def test_a_vpc_whose_flowtable_does_not_compile_is_not_offloaded_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    vpc, subnet = world.vpc("a")
    near = world.run(subnet, "hv1")
    world.settle(3)
    assert offloads(world, vpc.vni) == (2, True)
    with monkeypatch.context() as patch:
        patch.setattr(f"policy.offload.{broken}", None)
        group = groups.create_security_group(world.store, world.operator, vpc.id, name="own").id
        memberships.modify_interface_groups(world.store, world.operator, near.eni.id, [group])
        world.settle(3)
        # Chains that do not compile stay, and add flows to a flowtable in which no device is.
        assert offloads(world, vpc.vni) == (0, broken == "_chains")
        assert "cannot be compiled: TypeError" in str(world.agents["hv1"].reconciler.problems)
    later = groups.create_security_group(world.store, world.operator, vpc.id, name="later").id
    memberships.modify_interface_groups(world.store, world.operator, near.eni.id, [later])
    world.settle()
    assert offloads(world, vpc.vni) == (2, True)
    world.assert_settled()


def refusing(vni: int) -> Callable[[Iterable[Identity]], dict[int, tuple[str, ...]]]:
    """Return `own_numbers` that finds two identities of a VPC with one number."""

    def numbers(identities: Iterable[Identity]) -> dict[int, tuple[str, ...]]:
        found = list(identities)
        if any(vni_of(identity.groups[0]) == vni for identity in found):
            raise CompileError("two with one number")
        return own_numbers(found)

    return numbers


@pytest.mark.parametrize("restarted", [False, True])
def test_a_vpc_whose_rules_do_not_compile_is_not_offloaded(
    world: World, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    (vpc, subnet), (other, away) = world.vpc("a"), world.vpc("b")
    near = world.run(subnet, "hv1")
    world.run(away, "hv1")
    world.settle(3)
    assert offloads(world, vpc.vni) == offloads(world, other.vni) == (2, True)
    if restarted:
        world.kill("hv1")
    with monkeypatch.context() as limited:
        limited.setattr("policy.chains.own_numbers", refusing(vpc.vni))
        group = groups.create_security_group(world.store, world.operator, vpc.id, name="own").id
        memberships.modify_interface_groups(world.store, world.operator, near.eni.id, [group])
        if restarted:
            world.start("hv1")
        world.settle(5)
        assert offloads(world, vpc.vni) == (0, False)
        assert offloads(world, other.vni) == (2, True)
    later = groups.create_security_group(world.store, world.operator, vpc.id, name="later").id
    memberships.modify_interface_groups(world.store, world.operator, near.eni.id, [later])
    world.settle()
    assert offloads(world, vpc.vni) == (2, True)
    world.assert_settled()
