"""A copy of what a process watches, in memory: the raw records, and those of VPCs decoded.

`put`, `drop` and `replace` edit it; nothing here does I/O. A subclass is called for each change. When a record cannot be read,
the copy keeps the last one that could, and `problem` says why: check it before acting on a VPC.

A copy may hold thousands of VPCs: one record's change must cost the same then as with ten, hence the index of keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from netorch.errors import NewerRecord, UnreadableRecord
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import UNKNOWN_KIND, decode_value, parse_value
from netorch.records.kinds import BY_PREFIX, BY_TYPE, mapped
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


class WatchedVpc(VpcRecords):
    """The records of one VPC as far as they are known; its own may be missing."""

    decode_errors: dict[str, UnreadableRecord] = msgspec.field(default_factory=dict)  # by key

    def problem(self) -> str:
        """Return why nothing may be made of the records now, or nothing."""
        if self.decode_errors:
            key = min(self.decode_errors)
            return str(self.decode_errors[key])
        return "" if self.of(Vpc) else "the VPC record is missing"

    @property
    def is_isolated(self) -> bool:
        """Return whether a newer version wrote a record of it, so that nobody here knows what to make of the others."""
        return any(isinstance(error, NewerRecord) for error in self.decode_errors.values())


class RecordChange(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a VPC that has changed."""

    vni: int
    of: type | None  # None: no kind that this version knows
    name: str  # its id; of a mapping the address
    before: Any = None
    after: Any = None
    unreadable: bool = False  # it cannot be read: the copy has kept what it had
    was_unreadable: bool = False


class Mirror:
    """The copy. Subclasses say what a change means to them."""

    def __init__(self) -> None:
        self.raw: dict[str, tuple[int, bytes]] = {}  # key -> (mod_revision, value)
        self.vpcs: dict[int, WatchedVpc] = {}
        self.changes = 0  # how often `raw` has changed
        self._keys_of: dict[str, set[str]] = {}  # the first two parts of a key -> the known keys

    def changed(self, change: RecordChange) -> None:
        """Take note of a VPC's record."""
        raise NotImplementedError

    def changed_other(self, key: str, value: bytes | None) -> None:
        """Take note of a record that is no VPC's; None: it is gone."""
        raise NotImplementedError

    def put(self, key: str, value: bytes, revision: int) -> None:
        """Take in a record; one that is not newer than the known one changes nothing."""
        known = self.raw.get(key)
        if known is not None and revision <= known[0]:
            return
        self.raw[key] = (revision, value)
        self.changes += 1
        self._keys_of.setdefault(_family(key), set()).add(key)
        if known is None or known[1] != value:
            self._set(key, value, revision)

    def drop(self, key: str, revision: int) -> None:
        """Forget a record that was deleted at `revision`."""
        known = self.raw.get(key)
        if known is not None and known[0] < revision:
            self.forget(key)
            self._set(key, None, revision)

    def replace(self, prefixes: Iterable[str], listed: dict[str, tuple[int, bytes]], revision: int) -> None:
        """Make the records below `prefixes` equal to what a listing at `revision` returned."""
        for prefix in prefixes:
            known = self._keys_of.get(_family(prefix), ())
            for key in [key for key in known if key.startswith(prefix) and key not in listed]:
                self.drop(key, revision)
        for key, (modified, value) in listed.items():
            self.put(key, value, modified)

    def forget(self, key: str) -> None:
        """Forget a raw record, and call nobody."""
        del self.raw[key]
        self.changes += 1
        family = self._keys_of[_family(key)]
        family.discard(key)
        if not family:
            del self._keys_of[_family(key)]

    def forget_vpc(self, vni: int) -> WatchedVpc | None:
        """Forget a VPC that is watched no more; return what was known of it."""
        for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni)):
            for key in self.below(_family(prefix)):
                self.forget(key)
        return self.vpcs.pop(vni, None)

    def below(self, family: str) -> tuple[str, ...]:
        """Return the known keys of which these are the first two parts."""
        return tuple(self._keys_of.get(family, ()))

    def families(self, root: str) -> list[str]:
        """Return the first two parts of the known keys below a root."""
        return [family for family in self._keys_of if family.startswith(f"{root}/")]

    def _set(self, key: str, value: bytes | None, revision: int) -> None:
        root, _, rest = key.partition("/")
        digits, _, tail = rest.partition("/")
        if root == "map":
            self._decode(key, int(digits, 16), mapped(tail), tail, value, revision)
        elif root == "vpc":
            prefix, _, name = tail.partition("/")
            kind = BY_PREFIX.get(prefix)
            self._decode(key, int(digits, 16), kind.type if kind is not None else None, name, value, revision)
        else:
            self.changed_other(key, value)

    def _decode(self, key: str, vni: int, of: type | None, name: str, value: bytes | None, revision: int) -> None:
        records = self.vpcs.get(vni) or self.vpcs.setdefault(vni, WatchedVpc(vni))
        was_unreadable = records.decode_errors.pop(key, None) is not None
        record = None
        try:
            record = _record(key, of, value)
        except UnreadableRecord as error:
            if isinstance(error, NewerRecord) or _matters(of):
                records.decode_errors[key] = error
                self.changed(RecordChange(vni=vni, of=of, name=name, unreadable=True, was_unreadable=was_unreadable))
                return
        before = None
        if of is not None:
            table: dict[str, Stored[Any]] = records.of(of)
            known = table.pop(name, None) if of is not Vpc else next(iter(table.values()), None)
            before = known.record if known is not None else None
            if of is Vpc:
                table.clear()
            if record is not None:
                table[name or record.id] = Stored(record, revision)
        self.changed(RecordChange(vni=vni, of=of, name=name, before=before, after=record, was_unreadable=was_unreadable))


def _matters(of: type | None) -> bool:
    """Return whether a record that cannot be read isolates its VPC; else it counts as not there."""
    kind = BY_TYPE.get(of) if of is not None else None
    return kind is None or kind.isolates


def _record(key: str, of: type | None, value: bytes | None) -> Any:  # noqa: ANN401 - many types
    """Return what a value says; None when there is none. Raises UnreadableRecord."""
    if value is None:
        return None
    if of is None:
        raise NewerRecord(key, UNKNOWN_KIND)
    # Whether a mapping makes sense is asked when it is compiled: then only its own address is left out.
    return parse_value(key, value, of) if of is Mapping else decode_value(key, value, of)


def _family(key: str) -> str:
    """Return the first two parts of a key or a prefix, e.g. vpc/001388."""
    root, _, rest = key.partition("/")
    return f"{root}/{rest.partition('/')[0]}"
