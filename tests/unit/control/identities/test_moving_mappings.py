"""Rights by a move: a host of the move may write the moving mapping, and must gain nothing by what it writes there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from netorch.control.actions import moves
from netorch.control.identities.rights import move_rights
from netorch.control.identities.roles import sweep
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.records import keys
from netorch.records.codec import encode_at
from netorch.store.access import Access, Right
from tests.unit.agent.conftest import a_world
from tests.unit.agent.world import World


class Role:
    """The rights of one host, in place of etcd's."""

    def __init__(self) -> None:
        self.held: set[Right] = set()

    def rights(self, _role: str) -> set[Right]:
        """Return the rights."""
        return set(self.held)

    def grant(self, _role: str, more: Collection[Right]) -> None:
        """Add rights."""
        self.held |= set(more)

    def revoke(self, _role: str, less: Collection[Right]) -> None:
        """Remove rights."""
        self.held -= set(less)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("direction", MoveDirection)
@pytest.mark.parametrize("other", ["hv2", "hv3"])
def test_a_moving_mapping_gives_rights_for_the_interface_with_its_address_only(
    world: World, direction: MoveDirection, other: str
) -> None:
    _, subnet = world.vpc("a")
    placed, victim = world.run(subnet, "hv1"), world.run(subnet, "hv2")
    moves.move_instance(world.store, world.operator, placed.instance.id, "hv2")
    role, key = Role(), keys.mapping(placed.eni.vni, placed.eni.address)
    stored = world.store.get(key)
    assert stored is not None
    mapping = msgspec.json.decode(stored.value, type=Mapping)
    sweep(world.store, cast(Access, role), "hv1")
    assert move_rights("hv1", mapping) <= role.held
    before = set(role.held)
    for host, with_host in (("hv1", other), (other, "hv1")):
        move = Move(direction=direction, host=with_host, vtep="192.0.2.11")
        world.put(key, encode_at(key, msgspec.structs.replace(mapping, eni=victim.eni.id, host=host, move=move)))
        sweep(world.store, cast(Access, role), "hv1")
        assert role.held <= before
