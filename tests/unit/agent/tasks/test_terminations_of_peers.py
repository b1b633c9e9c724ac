"""Terminations when a rule names a peer's group: this VPC's rules alone decide about the group's members."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.control.actions import groups, memberships, permissions
from netorch.control.actions.permissions import Permission
from netorch.model.security import Direction
from tests.unit.agent.tasks.test_connections import flow, tracked
from tests.unit.agent.test_peerings import Pair
from tests.unit.agent.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "hv1", "hv2")


@pytest.mark.parametrize("left_out", [False, True], ids=["known", "left out"])
def test_a_member_of_a_peer_that_is_left_out_is_permitted_by_no_rule(
    world: World, monkeypatch: pytest.MonkeyPatch, left_out: bool
) -> None:
    pair = Pair(world)
    store, operator = world.store, world.operator
    near, far = world.run(pair.a_subnet, "hv1"), world.run(pair.b_subnet, "hv2")
    theirs = groups.create_security_group(store, operator, pair.b.id, name="theirs").id
    memberships.modify_interface_groups(store, operator, far.eni.id, [theirs])
    own = groups.create_security_group(store, operator, pair.a.id, name="own").id
    memberships.modify_interface_groups(store, operator, near.eni.id, [own])
    of_peer, other = (Permission(protocol="tcp", ports=443, peer=peer) for peer in (theirs, "10.9.0.0/16"))
    permissions.authorize(store, operator, own, Direction.INGRESS, [of_peer, other])
    if left_out:
        monkeypatch.setattr("policy.groups.MOST_ENTRIES", 0)
    world.settle(3)
    assert world.agents["hv1"].reconciler.peers_left_out(pair.a.vni) == ({pair.b.vni} if left_out else set())
    from_peer = flow(world, "hv1", pair.a, far.eni.address, near.eni.address, 443)
    permissions.revoke(store, operator, own, Direction.INGRESS, [other], terminate_established=True)
    world.turn()
    kept = {(from_peer.source, from_peer.destination, from_peer.dport)}
    assert tracked(world.kernels["hv1"]) == (set() if left_out else kept)
