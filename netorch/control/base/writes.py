"""One store transaction in preparation: its conditions, and its writes if the conditions hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from netorch.errors import ApiError
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import encode_at
from netorch.records.read import Stored
from netorch.store.alloc import Claim, take
from netorch.store.base import Compare, Delete, Put, Store
from netorch.store.rules import MAX_OPS, MAX_TXN_BYTES
from netorch.store.transact import Snapshot, retry
from netorch.store.trial import TrialStore

ABSENT: Final = 0  # the mod_revision of a key that does not exist
# What fits into a transaction beside its signature (netorch/control/history/signed.py).
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
        """Let the transaction fail unless the key's last write was at `mod_revision` (0: the key does not exist)."""
        self.expected[key] = mod_revision

    def put(self, key: str, record: object) -> None:
        """Write a record without a condition, e.g. below a prefix that another compare guards."""
        self.values[key] = encode_at(key, record)

    def create(self, key: str, record: object) -> None:
        """Write a record that must not exist yet."""
        self.expect(key, ABSENT)
        self.put(key, record)

    def change(self, key: str, mod_revision: int, record: object) -> None:
        """Write a record that must be unchanged since it was read."""
        self.expect(key, mod_revision)
        self.put(key, record)

    def delete(self, key: str, mod_revision: int) -> None:
        """Delete a record that must be unchanged since it was read."""
        self.expect(key, mod_revision)
        self.values[key] = None

    def drop(self, key: str) -> None:
        """Delete a key without a condition; a missing key is no error."""
        self.values[key] = None

    def claim(self, claim: Claim) -> None:
        """Take or free a thing that `netorch.store.alloc` gives out."""
        self.expect(claim.compare.key, claim.compare.mod_revision)
        self.values[claim.op.key] = claim.op.value if isinstance(claim.op, Put) else None

    def absorb(self, later: Writes) -> None:
        """Append later writes, so that both commit as one. Keys that this one writes need no compare in `later`."""
        for key, mod_revision in later.expected.items():
            if key not in self.values:
                self.expected.setdefault(key, mod_revision)
        self.values.update(later.values)

    def takes(self, later: Writes) -> bool:
        """Return whether both still fit into one transaction after `absorb(later)`. Cost: O(both)."""
        values, expected = self.values, self.expected
        ops = len(values) + sum(key not in values for key in later.values)
        compares = len(expected) + sum(key not in expected and key not in values for key in later.expected)
        return max(ops, compares) <= MOST_OPS and self.bytes() + later.bytes() <= MOST_BYTES

    def bytes(self) -> int:
        """Return how many bytes of a transaction this uses."""
        return sum(map(len, self.values)) + sum(map(len, filter(None, self.values.values()))) + sum(map(len, self.expected))

    def check_size(self) -> None:
        """Refuse what exceeds one transaction. Raises ApiError: RequestResourceCountExceeded."""
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
        """Commit and return the revision; 0 if a condition failed and nothing was written."""
        self.check_size()
        result = store.txn(self.compares(), self.ops())
        return result.revision if result.succeeded else 0


def ahead(store: Store, writes: Writes) -> Store:
    """Return the store with some writes applied, to decide on further writes for the same transaction."""
    trial = TrialStore(store)
    trial.txn((), writes.ops())
    return trial


def attempt(store: Store, decide: Callable[[], tuple[Writes, T]]) -> T:
    """Return the result of `decide` once its writes are committed. After a lost race it reads and decides again.

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
    """Rewrite a VPC's record unchanged: of two changes of its structure at the same time, one fails and is decided again."""
    writes.change(keys.vpc(vpc.record.vni), vpc.mod_revision, vpc.record)


def take_name(owner: str, kind: str, text: str, holder: str) -> Claim:
    """Return the claim that gives a free name to `holder`.

    A freed name may be taken at once: ids tell the old and the new holder apart.
    """
    claim = take(keys.name(owner, kind, text), None, holder, 0.0)
    assert claim is not None  # a missing key has no holder
    return claim
