"""An in-memory copy of the records that a process watches: all of them raw, those of VPCs also decoded.

`put`, `drop` and `replace` change the copy, without I/O. Each change calls a method of the subclass. If a record cannot be read,
the copy keeps the last readable version, and `problem` returns the reason: check it before acting on a VPC.

A copy may hold thousands of VPCs. An index of keys makes the cost of one change independent of their number.
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
    """The known records of one VPC. The VPC's own record may be missing."""

    decode_errors: dict[str, UnreadableRecord] = msgspec.field(default_factory=dict)  # by key

    def problem(self) -> str:
        """Return why the records must not be used now, or an empty text."""
        if self.decode_errors:
            key = min(self.decode_errors)
            return str(self.decode_errors[key])
        return "" if self.of(Vpc) else "the VPC record is missing"

    @property
    def is_isolated(self) -> bool:
        """Return whether a newer version wrote one of the records, so that this version cannot interpret the others."""
        return any(isinstance(error, NewerRecord) for error in self.decode_errors.values())


class RecordChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of one record of a VPC."""

    vni: int
    of: type | None  # None: this version does not know the kind
    name: str  # id, or for a mapping its address
    before: Any = None
    after: Any = None
    unreadable: bool = False  # the new version is unreadable; the copy keeps the old one
    was_unreadable: bool = False


class Mirror:
    """The copy. Subclasses handle the changes."""

    def __init__(self) -> None:
        self.raw: dict[str, tuple[int, bytes]] = {}  # key -> (mod_revision, value)
        self.vpcs: dict[int, WatchedVpc] = {}
        self.changes = 0  # number of changes of `raw`
        self._keys_of: dict[str, set[str]] = {}  # first two parts of a key -> known keys

    def changed(self, change: RecordChange) -> None:
        """Handle the change of a VPC's record."""
        raise NotImplementedError

    def changed_other(self, key: str, value: bytes | None) -> None:
        """Handle the change of a record outside VPCs. None: deleted."""
        raise NotImplementedError

    def put(self, key: str, value: bytes, revision: int) -> None:
        """Store a record, unless a version of the same or a later revision is known."""
        known = self.raw.get(key)
        if known is not None and revision <= known[0]:
            return
        self.raw[key] = (revision, value)
        self.changes += 1
        self._keys_of.setdefault(_family(key), set()).add(key)
        if known is None or known[1] != value:
            self._set(key, value, revision)

    def drop(self, key: str, revision: int) -> None:
        """Remove a record that was deleted at `revision`."""
        known = self.raw.get(key)
        if known is not None and known[0] < revision:
            self.forget(key)
            self._set(key, None, revision)

    def replace(self, prefixes: Iterable[str], listed: dict[str, tuple[int, bytes]], revision: int) -> None:
        """Make the records below `prefixes` equal to a listing at `revision`."""
        for prefix in prefixes:
            known = self._keys_of.get(_family(prefix), ())
            for key in [key for key in known if key.startswith(prefix) and key not in listed]:
                self.drop(key, revision)
        for key, (modified, value) in listed.items():
            self.put(key, value, modified)

    def forget(self, key: str) -> None:
        """Remove a raw record, without a call of the subclass."""
        del self.raw[key]
        self.changes += 1
        family = self._keys_of[_family(key)]
        family.discard(key)
        if not family:
            del self._keys_of[_family(key)]

    def forget_vpc(self, vni: int) -> WatchedVpc | None:
        """Remove a VPC that is no longer watched. Return its known records."""
        for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni)):
            for key in self.below(_family(prefix)):
                self.forget(key)
        return self.vpcs.pop(vni, None)

    def below(self, family: str) -> tuple[str, ...]:
        """Return the known keys of a family, the first two parts of a key."""
        return tuple(self._keys_of.get(family, ()))

    def families(self, root: str) -> list[str]:
        """Return the families of the known keys below a root."""
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
    """Return whether an unreadable record of this type isolates its VPC. Other unreadable records count as missing."""
    kind = BY_TYPE.get(of) if of is not None else None
    return kind is None or kind.isolates


def _record(key: str, of: type | None, value: bytes | None) -> Any:  # noqa: ANN401 - many types
    """Return the decoded record, or None without a value. Raises UnreadableRecord."""
    if value is None:
        return None
    if of is None:
        raise NewerRecord(key, UNKNOWN_KIND)
    # The compiler checks mappings, so that an invalid mapping affects only its own address.
    return parse_value(key, value, of) if of is Mapping else decode_value(key, value, of)


def _family(key: str) -> str:
    """Return the family of a key or a prefix: its first two parts, e.g. vpc/001388."""
    root, _, rest = key.partition("/")
    return f"{root}/{rest.partition('/')[0]}"
