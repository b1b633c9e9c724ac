"""One store transaction in the making: what must still hold, and what is written if it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from netorch.errors import ApiError
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import Stored
from netorch.store.alloc import Claim, take
from netorch.store.base import Compare, Delete, Put, Store
from netorch.store.rules import MAX_OPS, MAX_TXN_BYTES
from netorch.store.transact import Snapshot, retry
from netorch.store.trial import TrialStore

ABSENT: Final = 0  # the mod_revision of a key that does not exist
# What fits into a transaction beside who makes it (netorch/control/history/signed.py).
MOST_OPS: Final = MAX_OPS - 1
MOST_BYTES: Final = MAX_TXN_BYTES - 8192

T = TypeVar("T")


class Writes:
    """The compares and writes of one transaction; a key is compared and written at most once.

    Every record that a decision was based on is compared, so that two callers cannot both be right.
    """

    def __init__(self) -> None:
        self.expected: dict[str, int] = {}
        self.values: dict[str, bytes | None] = {}  # None: deleted

    def __len__(self) -> int:
        return max(len(self.values), len(self.expected))

    def __bool__(self) -> bool:
        return bool(self.values)

    def expect(self, key: str, mod_revision: int) -> None:
        """Let the transaction fail unless the key was last written at `mod_revision` (0: does not exist)."""
        self.expected[key] = mod_revision

    def put(self, key: str, record: object) -> None:
        """Write a record whatever stands there, e.g. below a prefix that another compare guards."""
        self.values[key] = encode(record)

    def create(self, key: str, record: object) -> None:
        """Write a record that must not exist yet."""
        self.expect(key, ABSENT)
        self.put(key, record)

    def change(self, key: str, mod_revision: int, record: object) -> None:
        """Write a record that must be as it was read."""
        self.expect(key, mod_revision)
        self.put(key, record)

    def delete(self, key: str, mod_revision: int) -> None:
        """Delete a record that must be as it was read."""
        self.expect(key, mod_revision)
        self.values[key] = None

    def drop(self, key: str) -> None:
        """Delete a key whatever stands there; one that does not exist is no error."""
        self.values[key] = None

    def claim(self, claim: Claim) -> None:
        """Take or free something that `netorch.store.alloc` hands out."""
        self.expect(claim.compare.key, claim.compare.mod_revision)
        self.values[claim.op.key] = claim.op.value if isinstance(claim.op, Put) else None

    def absorb(self, later: Writes) -> None:
        """Append what comes after this, so that both commit as one: what this one writes needs no compare there."""
        for key, mod_revision in later.expected.items():
            if key not in self.values:
                self.expected.setdefault(key, mod_revision)
        self.values.update(later.values)

    def takes(self, later: Writes) -> bool:
        """Return whether this would still fit into one transaction after `absorb(later)`. Cost: O(both)."""
        values, expected = self.values, self.expected
        ops = len(values) + sum(key not in values for key in later.values)
        compares = len(expected) + sum(key not in expected and key not in values for key in later.expected)
        return max(ops, compares) <= MOST_OPS and self.bytes() + later.bytes() <= MOST_BYTES

    def bytes(self) -> int:
        """Return how much of a transaction's bytes this takes."""
        return sum(map(len, self.values)) + sum(map(len, filter(None, self.values.values()))) + sum(map(len, self.expected))

    def check_size(self) -> None:
        """Refuse what no store takes in one transaction. Raises ApiError: RequestResourceCountExceeded."""
        size = self.bytes()
        if size > MOST_BYTES:
            largest, value = max(self.values.items(), key=lambda item: len(item[1] or b""))
            what = f"the change is {size} bytes, {len(value or b'')} of them here; {MOST_BYTES} fit into one transaction"
            fix = "make it in several steps, or with fewer or shorter rules, descriptions and tags"
            raise ApiError("RequestResourceCountExceeded", f"{largest}: {what}; {fix}")
        if len(self) > MOST_OPS:
            first = next(iter(self.values or self.expected))
            what = f"the change needs {len(self)} keys; {MOST_OPS} fit into one transaction"
            raise ApiError("RequestResourceCountExceeded", f"{first}: {what}; make it in several steps")

    def compares(self) -> list[Compare]:
        """Return the conditions for the store."""
        return [Compare(key, mod_revision) for key, mod_revision in self.expected.items()]

    def ops(self) -> list[Put | Delete]:
        """Return the operations for the store."""
        return [Delete(key) if value is None else Put(key, value) for key, value in self.values.items()]

    def commit(self, store: Store) -> int:
        """Commit, and return the revision; 0 when something was not as expected, and nothing was written."""
        self.check_size()
        result = store.txn(self.compares(), self.ops())
        return result.revision if result.succeeded else 0


def ahead(store: Store, writes: Writes) -> Store:
    """Return a store as it will be once some writes are committed, to decide on more to write with them."""
    trial = TrialStore(store)
    trial.txn((), writes.ops())
    return trial


def attempt(store: Store, decide: Callable[[], tuple[Writes, T]]) -> T:
    """Return what `decide` returned when its writes were committed; it reads and decides again after a lost race.

    Raises:
      Conflict: other writers were faster every time.
    """
    results: list[T] = []

    def once(_snapshot: Snapshot) -> tuple[list[Compare], list[Put | Delete]]:
        writes, result = decide()
        writes.check_size()
        results.append(result)
        return writes.compares(), writes.ops()

    retry(store, once)
    return results[-1]


def guard_structure(writes: Writes, vpc: Stored[Vpc]) -> None:
    """Rewrite a VPC's record as it is: of two changes of its structure at the same time one fails, and decides again."""
    writes.change(keys.vpc(vpc.record.vni), vpc.mod_revision, vpc.record)


def take_name(owner: str, kind: str, text: str, holder: str) -> Claim:
    """Return what makes a name `holder`'s if nobody has it.

    A freed name may be taken at once: ids tell the old holder and the new one apart.
    """
    claim = take(keys.name(owner, kind, text), None, holder, 0.0)
    assert claim is not None  # nothing holds what is not there
    return claim
