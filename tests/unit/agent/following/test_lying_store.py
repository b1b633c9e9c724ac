"""A store that loses events, or answers with less than it holds: the data plane stays, and the agent finds out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netorch.agent.following.absence import MOST
from netorch.agent.following.audit import AUDIT_S
from netorch.control.actions import instances
from netorch.control.actions.instances import Placed
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.state.base import KernelObject, Key
from netorch.store.base import Delete, Event, Range, Store, TxnResult
from tests.unit.agent.world import WiredStore, WiredWatch, World

Change = Callable[[tuple[Event, ...]], tuple[Event, ...]]


def once(change: Change) -> Change:
    """Return a change of the first events that it concerns; later events pass."""
    left = [change]

    def changed(events: tuple[Event, ...]) -> tuple[Event, ...]:
        return left.pop()(events) if events and left else events

    return changed


def deliver(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Let watches deliver something else than what happened."""
    poll = WiredWatch.poll
    monkeypatch.setattr(WiredWatch, "poll", lambda watch: change(poll(watch)))


def answer(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, Range], Range]) -> None:
    """Let listings say something else than what the store holds."""
    ask = WiredStore.list
    monkeypatch.setattr(WiredStore, "list", lambda store, prefix, revision=0: change(prefix, ask(store, prefix, revision)))


def less(listing: Range, kept: int) -> Range:
    """Return a listing with only the first placements."""
    placements = [kv for kv in listing.kvs if "/placement/" in kv.key]
    return Range(listing.revision, tuple(kv for kv in listing.kvs if kv not in placements[kept:]), listing.mark)


@pytest.fixture
def subnet(world: World) -> Subnet:
    return world.vpc("a")[1]


@pytest.fixture
def many(world: World, subnet: Subnet) -> list[Placed]:
    """More instances on hv1 than may vanish without proof, and one on hv2."""
    placed = [world.run(subnet, "hv1") for _ in range(2 * MOST)]
    world.run(subnet, "hv2")
    world.settle(3)
    return placed


LOSSES: dict[str, Change] = {
    "lost": lambda events: (),
    "repeated": lambda events: events + events,
    "reordered": lambda events: events[::-1],
}


@pytest.mark.parametrize("how", LOSSES)
def test_an_event_that_does_not_come_as_it_happened_is_found_by_the_next_round(
    world: World, subnet: Subnet, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    world.run(subnet, "hv1")
    gone = world.run(subnet, "hv2")
    world.settle(3)
    deliver(monkeypatch, once(LOSSES[how]))
    instances.terminate_instance(world.store, world.operator, gone.instance.id)
    world.run(subnet, "hv2")
    world.put(keys.mapping(gone.eni.vni, "10.0.0.77"), b"{}")
    world.delete(keys.mapping(gone.eni.vni, "10.0.0.77"))
    world.settle(3)
    _audited(world)
    world.settle(3)
    for prefix in world.agents["hv1"].records.prefixes:
        stored = {kv.key: kv.mod_revision for kv in world.store.list(prefix).kvs}
        assert world.agents["hv1"].records.revisions(prefix) == stored
    world.assert_settled()


def test_an_audit_changes_nothing_of_what_is_right(world: World, many: list[Placed], caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    def note(prefix: str, listing: Range) -> Range:
        if prefix != keys.status_prefix("hv1"):  # the agent's own status
            asked.append(prefix)
        return listing

    world.new_ops("hv1")
    with pytest.MonkeyPatch.context() as patch:
        answer(patch, note)
        for _ in range(int(2 * AUDIT_S / 10)):
            world.clock.now += 10.0
            world.turn("hv1")
    assert set(asked) == world.agents["hv1"].records.prefixes
    assert len(asked) <= 5 * len(set(asked))
    assert world.new_ops("hv1") == []
    assert "out of sync" not in caplog.text


@pytest.mark.parametrize("restart", [False, True], ids=["runs", "restarts"])
@pytest.mark.parametrize("kept", [0, 5])
def test_a_listing_without_most_of_what_a_host_carries_is_not_believed(
    world: World, many: list[Placed], monkeypatch: pytest.MonkeyPatch, restart: bool, kept: int
) -> None:
    before = dict(world.kernels["hv1"].objects)

    def lies(prefix: str, listing: Range) -> Range:
        return less(listing, kept) if prefix == keys.host_prefix("hv1") else listing

    with monkeypatch.context() as patch:
        answer(patch, lies)
        if restart:
            world.start("hv1")
        else:
            world.agents["hv1"].follower._watched = frozenset()
            world.agents["hv1"].follower.unwatch()
        world.settle(40)
        assert world.kernels["hv1"].objects == before
        assert f"{len(many) - kept} of the {len(many)} placements of this host are gone" in world.agents["hv1"].follower.trouble
        assert world.agents["hv1"].follower.refused
    world.settle(40)
    assert world.kernels["hv1"].objects == before
    world.assert_settled()


def test_a_listing_older_than_what_a_host_has_seen_is_refused(
    world: World, many: list[Placed], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, agent = dict(world.kernels["hv1"].objects), world.agents["hv1"]
    with monkeypatch.context() as patch:
        answer(patch, lambda prefix, listing: Range(agent.follower.history.revision - 1, (), listing.mark))
        agent.follower._watched = frozenset()
        agent.follower.unwatch()
        world.settle(20)
        assert agent.follower.refused
        assert world.kernels["hv1"].objects == before
    world.settle(40)
    world.assert_settled()


@pytest.mark.parametrize("way", ["history shows it", "the host is drained", "the operator says so"])
def test_a_proven_absence_is_believed(world: World, many: list[Placed], way: str) -> None:
    world.wires["hv1"].cut = True
    world.turn("hv1")
    _terminate(world, many)
    world.turn("hv2")
    if way != "history shows it":
        world.store.compact(world.store.revision())
    if way == "the host is drained":
        world.put(keys.host_drained("hv1"), b"{}")
    world.wires["hv1"].cut = False
    world.settle(40)
    if way == "the operator says so":
        assert world.agents["hv1"].follower.refused
        world.kill("hv1")
        (world.path / "hv1.snapshot").unlink()
        world.start("hv1")
        world.settle(3)
    assert world.agents["hv1"].follower.in_sync
    assert not any(port in world.kernels["hv1"].objects for port in [("link", "overlay", placed.eni.id) for placed in many])
    world.settle(3)
    assert not world.agents["hv1"].records.carried()


def test_deletions_that_a_watch_has_lost_are_believed_once_the_audit_finds_them(
    world: World, many: list[Placed], monkeypatch: pytest.MonkeyPatch
) -> None:
    _audited(world)
    with monkeypatch.context() as patch:
        deliver(patch, lambda events: ())
        _terminate(world, many[: MOST + 2])
        world.turn("hv1")
    assert len(world.agents["hv1"].records.placements) == len(many)
    _audited(world)
    assert world.agents["hv1"].follower.trouble == ""
    assert len(world.agents["hv1"].records.placements) == len(many) - MOST - 2
    world.settle(3)
    world.assert_settled()


def test_deletions_are_believed_though_the_watch_had_lost_one_of_them(
    world: World, many: list[Placed], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        deliver(patch, lambda events: ())
        _terminate(world, many[:1])
        world.turn("hv1")
    world.run(world.vpc("b")[1], "hv1")
    world.settle(3)  # another snapshot, with the placement that is gone
    world.kill("hv1")
    _terminate(world, many[1 : MOST + 2])
    world.start("hv1")
    assert world.agents["hv1"].follower.trouble == ""
    world.settle(3)
    world.assert_settled()


@pytest.mark.parametrize("calls", range(4, 12))
def test_a_start_that_loses_the_store_half_way_does_not_bring_back_what_was_deleted(
    world: World, many: list[Placed], calls: int
) -> None:
    world.kill("hv1")
    _terminate(world, many[: MOST + 2])
    world.wires["hv1"].cut_after = calls
    agent = world.start("hv1")
    has_listed = len(agent.records.placements) < len(many)
    assert has_listed == (calls > 4), "the first listing is of the host's own records"
    if has_listed:
        world.store.compact(world.store.revision())
    world.settle(25)
    assert agent.follower.trouble == ""
    assert len(agent.records.placements) == len(many) - MOST - 2
    world.assert_settled()


def _audited(world: World) -> None:
    """Let a whole round of the audit pass."""
    for _ in range(int(2 * AUDIT_S / 10)):
        world.clock.now += 10.0
        world.turn()


def _terminate(world: World, placed: list[Placed]) -> None:
    """Remove instances and their placements, as the hosts' agents and the control plane do together."""
    for each in placed:
        instances.terminate_instance(world.store, world.operator, each.instance.id)
    gone = [keys.placement("hv1", each.eni.id) for each in placed]
    world.store.txn([], [Delete(key) for key in gone])


@pytest.mark.parametrize("what", ["everything", "vpc/ and map/"])
@pytest.mark.parametrize("restart", [False, True], ids=["runs", "restarts"])
def test_a_store_whose_records_are_all_gone_tears_nothing_down(
    world: World, many: list[Placed], what: str, restart: bool
) -> None:
    before = {name: dict(kernel.objects) for name, kernel in world.kernels.items()}
    found = [kv.key for kv in world.store.list("").kvs if what == "everything" or kv.key.startswith(("vpc/", "map/"))]
    _delete_at_once(world.store, found)
    if restart:
        for name in before:
            world.start(name)
    world.settle(70)
    for name, kernel in world.kernels.items():
        assert _differing(before[name], kernel.objects) == {}, name
    assert all(agent._trouble() or agent.reconciler.problems for agent in world.agents.values())


def _differing(before: dict[Key, KernelObject], after: dict[Key, KernelObject]) -> dict[Key, tuple[object, object]]:
    return {key: (before.get(key), after.get(key)) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _delete_at_once(store: Store, found: list[str]) -> TxnResult:
    """Delete keys in one revision, as `etcdctl del --prefix` does."""
    from netorch.store import memory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "check_txn", lambda compares, ops: None)
        return store.txn([], [Delete(key) for key in found])
