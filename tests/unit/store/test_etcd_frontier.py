"""Answers of several watches are merged into whole revisions, in any order of arrival."""

from __future__ import annotations

import random

import pytest

from netorch.errors import Compacted, StoreUnavailable
from netorch.store.base import Event
from netorch.store.etcd import messages as pb
from netorch.store.etcd.frontier import EVERY_WATCH, Frontier
from netorch.store.etcd.keyspace import Keyspace

BASE = 100
KEYS = Keyspace("s", BASE)


def told(watch: int, *changes: tuple[int, str], fragment: bool = False, revision: int = 0) -> pb.Message:
    """Return an answer with puts, each as (revision of the store, key)."""
    answer = pb.WatchResponse(watch_id=watch, fragment=fragment)
    answer.header.revision = (revision or (changes[-1][0] if changes else 0)) + BASE
    for written, key in changes:
        answer.events.add(
            kv=pb.KeyValue(key=KEYS.key(key), value=b"x", mod_revision=written + BASE, create_revision=written + BASE)
        )
    return answer


def taken(frontier: Frontier) -> tuple[int, list[tuple[int, str]]]:
    revision, events = frontier.take()
    return revision, [(event.mod_revision, event.key) for event in events]


def test_of_one_watch_everything_is_whole_at_once() -> None:
    frontier = Frontier(KEYS, 1, 4)
    frontier.add(told(0, (5, "a"), (5, "b"), (7, "a")))
    assert not frontier.waits()
    assert taken(frontier) == (7, [(5, "a"), (5, "b"), (7, "a")])


def test_a_revision_waits_for_every_watch() -> None:
    frontier = Frontier(KEYS, 2, 4)
    frontier.add(told(0, (5, "a"), (6, "a")))
    assert frontier.waits()
    assert taken(frontier) == (4, [])
    frontier.add(told(1, (5, "b")))
    assert taken(frontier) == (5, [(5, "a"), (5, "b")])
    frontier.add(told(1, revision=9))  # progress of one watch
    assert taken(frontier) == (6, [(6, "a")])


def test_progress_of_the_stream_counts_for_every_watch() -> None:
    frontier = Frontier(KEYS, 3, 4)
    frontier.add(told(2, (6, "c")))
    frontier.add(told(EVERY_WATCH, revision=8))
    assert taken(frontier) == (8, [(6, "c")])
    assert not frontier.waits()


def test_fragments_are_one_answer() -> None:
    frontier = Frontier(KEYS, 1, 4)
    frontier.add(told(0, (5, "a"), fragment=True))
    assert taken(frontier) == (4, [])
    frontier.add(told(0, (5, "b")))
    assert taken(frontier) == (5, [(5, "a"), (5, "b")])


def test_what_was_delivered_does_not_come_again() -> None:
    frontier = Frontier(KEYS, 1, 4)
    frontier.add(told(0, (3, "a"), (4, "a"), (5, "a")))
    frontier.add(told(0, (5, "a")))
    assert taken(frontier) == (5, [(5, "a")])


def test_that_a_watch_was_made_says_nothing_of_how_far_it_is() -> None:
    frontier = Frontier(KEYS, 1, 4)
    answer = told(0, revision=90)
    answer.created = True
    frontier.add(answer)
    assert taken(frontier) == (4, [])


def test_a_deletion_has_no_value() -> None:
    frontier = Frontier(KEYS, 1, 4)
    answer = told(0, (5, "a"))
    answer.events[0].type = pb.DELETED
    frontier.add(answer)
    assert frontier.take() == (5, (Event("a", None, 5, 0),))


def test_a_watch_that_was_ended_says_why() -> None:
    frontier = Frontier(KEYS, 1, 4)
    with pytest.raises(Compacted) as caught:
        frontier.add(pb.WatchResponse(canceled=True, compact_revision=BASE + 7))
    assert caught.value.compact_revision == 7
    with pytest.raises(StoreUnavailable, match="permission denied"):
        frontier.add(pb.WatchResponse(canceled=True, cancel_reason="permission denied"))


@pytest.mark.parametrize("seed", range(50))
def test_however_watches_interleave_revisions_come_whole_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    changes = [(revision, f"{watch}") for revision in range(1, 40) for watch in range(3) if chance.random() < 0.5]
    queues = {watch: [change for change in changes if change[1] == str(watch)] for watch in range(3)}
    frontier = Frontier(KEYS, 3, 0)
    seen: list[tuple[int, str]] = []
    while any(queues.values()):
        watch = chance.choice([watch for watch, queue in queues.items() if queue])
        frontier.add(told(watch, queues[watch].pop(0)))
        if chance.random() < 0.2:  # like etcd: after all earlier events of this watch
            frontier.add(told(watch, revision=queues[watch][0][0] - 1 if queues[watch] else 50))
        _, new = taken(frontier)
        seen += new
    for watch in range(3):
        frontier.add(told(watch, revision=50))
    assert sorted(seen + taken(frontier)[1]) == sorted(changes)
    assert [revision for revision, _ in seen] == sorted(revision for revision, _ in seen)
    cut = {revision for revision, _ in seen}
    assert all(change in seen for change in changes if change[0] in cut)
