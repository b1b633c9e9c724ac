"""Random histories with deletions, compactions, lost connections and restarts: an agent's records equal a fresh listing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import hypothesis.strategies as st
from hypothesis import example, given

from netorch.agent.following.follower import Follower
from netorch.agent.records import Records
from netorch.agent.snapshot import Snapshot
from netorch.records import keys
from netorch.store.base import Delete, Put, Range, Store
from netorch.store.memory import MemoryStore
from tests.unit.agent.world import Wire, WiredStore

VNIS = (0x1388, 0x1389)
PLACEMENTS = [keys.placement("hv1", f"eni-{vni:06x}00000000001") for vni in VNIS]
KEYS = [
    *PLACEMENTS,
    *(keys.mapping(vni, "10.0.0.1") for vni in VNIS),
    "pool/west",
    "vpc/00138a/vpc",  # of a VPC that this host never carries
]
WRITES = st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), min_size=1, max_size=3, unique_by=lambda write: write[0])
STEPS = st.one_of(
    st.tuples(st.just("write"), WRITES),
    st.tuples(st.just("race"), WRITES),  # at the next listing
    st.tuples(st.just("race"), WRITES),
    st.tuples(st.just("cut"), st.integers(0, 6)),  # at one of the next calls
    st.tuples(st.just("compact"), st.integers(0, 4)),
    st.tuples(st.just("pull"), st.integers(1, 3)),
    st.tuples(st.just("restart"), st.integers(0, 9)),  # and the store is away from one of the next calls on
)


class Forward(Records):
    """Records that never go back in time: neither behind what was known of a key nor behind a listing of its prefix."""

    def __init__(self) -> None:
        super().__init__("hv1")
        self._newest: dict[str, int] = {}
        self._listed: dict[str, int] = {}

    def replace(self, prefixes: Iterable[str], listed: dict[str, tuple[int, bytes]], revision: int) -> None:
        wanted = list(prefixes)
        for prefix in wanted:
            self._listed.pop(prefix, None)
        super().replace(wanted, listed, revision)
        self._listed |= dict.fromkeys(wanted, revision)

    def _set(self, key: str, value: bytes | None, revision: int) -> None:
        floor = max((listed for prefix, listed in self._listed.items() if key.startswith(prefix)), default=0)
        assert revision > floor, f"{key}: revision {revision} after a listing of {floor}"
        assert revision >= self._newest.get(key, 0), f"{key}: revision {revision} after {self._newest[key]}"
        self._newest[key] = revision
        super()._set(key, value, revision)


class RacedStore(WiredStore):
    """A store to which others write before a listing."""

    def __init__(self, store: Store, wire: Wire, race: Callable[[], None]) -> None:
        super().__init__(store, wire)
        self._race = race

    def list(self, prefix: str, revision: int = 0) -> Range:
        self._race()
        return super().list(prefix, revision)


class Site:
    """One host's follower, its store, and what others will write."""

    def __init__(self) -> None:
        self.store, self.wire = MemoryStore(), Wire()
        self.races: list[Sequence[tuple[str, bool]]] = []
        self.now = 0.0
        self.saved: Snapshot | None = None
        self._start()

    def _start(self) -> None:
        self.records = Forward()
        self.follower = Follower(self.records, self._opened, lambda: frozenset(self.records.prefixes))

    def _opened(self) -> Store:
        return RacedStore(self.store, self.wire, self._race)

    def _race(self) -> None:
        for writes in self.races:
            self.write(writes)
        self.races.clear()

    def write(self, writes: Sequence[tuple[str, bool]]) -> None:
        self.store.txn([], [Put(key, b"{}") if is_put else Delete(key) for key, is_put in writes])

    def compact(self, back: int) -> None:
        if self.store.revision() - back > self.store._compacted:
            self.store.compact(self.store.revision() - back)

    def pull(self, times: int) -> None:
        for _ in range(times):
            self.now += 30.0  # longer than any pause
            self.follower.pull(self.now)
            for vni in self.records.vpcs.keys() - self.records.carried():
                self.records.forget_vpc(vni)  # as the compilation does
            self.records.take_dirty()
            if self.follower.in_sync:
                saved = Snapshot(uid="", revision=0, records=dict(self.records.raw))
                self.saved = self.follower.history.stamp(saved)

    def restart(self, calls: int) -> None:
        """Start the agent again, as `Agent.start` does; the store answers so many calls."""
        self.follower.close()
        self.wire.cut_after = calls
        self._start()
        if self.saved is not None:
            self.follower.recall(self.saved)
        self.follower.pull(self.now)
        if not self.follower.in_sync and self.saved is not None:
            self.follower.boot(self.saved)

    def check(self) -> None:
        assert self.follower.in_sync, self.follower.trouble
        for prefix in self.records.prefixes:
            assert self.records.revisions(prefix) == {kv.key: kv.mod_revision for kv in self.store.list(prefix).kvs}
        assert all(key.startswith(tuple(self.records.prefixes)) for key in self.records.raw)


CARRIED, GONE = (PLACEMENTS[0], True), keys.mapping(VNIS[0], "10.0.0.1")


@example([("pull", 1), ("race", [(GONE, True)]), ("race", [(GONE, False)]), ("write", [CARRIED]), ("pull", 1)])
@example([("pull", 1), ("write", [CARRIED, (GONE, True)]), ("cut", 2), ("pull", 1), ("write", [(GONE, False)]), ("pull", 1)])
@example([("write", [CARRIED, (GONE, True)]), ("pull", 1), ("write", [(PLACEMENTS[0], False)]), ("restart", 7)])
@given(st.lists(STEPS, max_size=30))
def test_what_an_agent_knows_equals_a_fresh_listing(steps: list[tuple[str, int | list[tuple[str, bool]]]]) -> None:
    site = Site()
    for what, given_ in steps:
        if not isinstance(given_, int):
            site.races.append(given_) if what == "race" else site.write(given_)
        elif what == "cut":
            site.wire.cut_after = given_
        else:
            {"compact": site.compact, "pull": site.pull, "restart": site.restart}[what](given_)
    site.wire.cut_after = None
    site.races.clear()
    site.pull(3)
    site.check()
    site.follower.close()
