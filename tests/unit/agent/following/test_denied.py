"""A host that may not read a prefix that it needs: it follows all others, and asks for this one again."""

from __future__ import annotations

import pytest

from netorch.errors import StoreDenied
from netorch.records import keys
from netorch.store.base import Range
from tests.unit.agent.world import WiredStore, World

ALL = ""


class Guard:
    """Denies prefixes, and notes which ones are listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.denied: set[str] = set()
        self.asked: list[str] = []
        ask = WiredStore.list

        def checked(store: WiredStore, prefix: str, revision: int = 0) -> Range:
            if prefix != keys.status_prefix("hv1"):  # the agent's own status
                self.asked.append(prefix)
            if not self.denied.isdisjoint({prefix, ALL}):
                raise StoreDenied(f"store: hv1 may not read {prefix}")
            return ask(store, prefix, revision)

        monkeypatch.setattr(WiredStore, "list", checked)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    return Guard(monkeypatch)


@pytest.mark.parametrize("restart", [False, True], ids=["runs", "restarts"])
def test_a_host_follows_what_it_may_read_and_lists_only_the_rest_again(world: World, guard: Guard, restart: bool) -> None:
    (_, one), (other, two) = world.vpc("a"), world.vpc("b")
    world.run(one, "hv1")
    world.settle(3)
    guard.denied = {keys.vpc_prefix(other.vni)}
    denied = world.run(two, "hv1")
    if restart:
        world.start("hv1")
    agent = world.agents["hv1"]
    world.turn("hv1")
    assert not agent.follower.in_sync
    assert agent.follower.trouble == f"store: hv1 may not read {keys.vpc_prefix(other.vni)}"
    guard.asked.clear()
    far = world.run(one, "hv2")
    world.turn("hv1")
    assert agent.records.raw[keys.mapping(far.eni.vni, far.eni.address)]
    for _ in range(60):
        world.turn("hv1")
        world.clock.now += 1.0
    assert set(guard.asked) == guard.denied
    assert len(guard.asked) < 15
    guard.denied.clear()
    world.settle(25)
    assert agent.follower.in_sync
    assert denied.eni.vni in agent.records.vpcs
    world.assert_settled()


def test_a_denied_prefix_that_is_no_longer_needed_is_no_trouble(world: World, guard: Guard) -> None:
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    guard.denied = {keys.vpc_prefix(placed.eni.vni), keys.map_prefix(placed.eni.vni)}
    world.turn("hv1")
    assert not world.agents["hv1"].follower.in_sync
    world.delete(keys.placement("hv1", placed.eni.id))
    world.delete(keys.mapping(placed.eni.vni, placed.eni.address))
    world.turn("hv1")
    assert world.agents["hv1"].follower.in_sync
    world.turn("hv1")
    assert world.agents["hv1"].follower.trouble == ""


def test_a_host_that_may_read_nothing_is_away(world: World, guard: Guard) -> None:
    guard.denied = {ALL}
    world.start("hv1")
    world.settle(3)
    assert world.agents["hv1"].follower.store is None
    guard.denied.clear()
    world.settle(25)
    assert world.agents["hv1"].follower.in_sync


def test_a_watch_that_is_denied_leads_to_listings(world: World, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, one), (other, two) = world.vpc("a"), world.vpc("b")
    world.run(one, "hv1")
    world.run(two, "hv1")
    world.settle(3)
    guard.denied = {keys.map_prefix(other.vni)}
    watch = world.agents["hv1"].follower._watch
    assert watch is not None
    with monkeypatch.context() as patch:

        def deny() -> None:
            raise StoreDenied("store: the cluster ended a watch: permission denied")

        patch.setattr(watch, "poll", deny)
        world.turn("hv1")
    assert world.agents["hv1"].follower.store is None
    world.settle(25)
    assert world.agents["hv1"].follower.trouble == f"store: hv1 may not read {keys.map_prefix(other.vni)}"
    assert world.agents["hv1"].follower.store is not None
    guard.denied.clear()
    world.settle(25)
    world.assert_settled()
