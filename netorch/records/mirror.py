"""An in-memory copy of the records that a process watches: all of them raw, those of VPCs also decoded.

`put`, `drop` and `replace` change the copy, without I/O. Each change calls a method of the subclass. If a record cannot be read,
the copy keeps the last readable version, and `problem` returns the reason: check it before acting on a VPC.

A copy may hold thousands of VPCs. An index of keys makes the cost of one change independent of their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from netorch.errors import NewerRecord, UnreadableRecord
from netorch.model.mapping import Mapping
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import UNKNOWN_KIND, decode_value, parse_value
from netorch.records.kinds import BY_PREFIX, BY_TYPE, mapped
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

T = TypeVar("T")


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
        """Return whether the records cannot be interpreted: the VPC's own is missing, or a newer version wrote one of them."""
        return not self.of(Vpc) or any(isinstance(error, NewerRecord) for error in self.decode_errors.values())


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
        self.vpcs: dict[int, WatchedVpc] = {}
        self.changes = 0  # number of changes of `raw`
        self._raw: dict[str, dict[str, tuple[int, bytes]]] = {}  # first two parts of a key -> key -> (mod_revision, value)

    @property
    def raw(self) -> dict[str, tuple[int, bytes]]:
        """Return all records as (mod_revision, value) by key. Cost: O(records)."""
        return {key: known for family in self._raw.values() for key, known in family.items()}

    def has(self, key: str) -> bool:
        """Return whether a key has a record."""
        return key in self._raw.get(_family(key), ())

    def changed(self, change: RecordChange) -> None:
        """Handle the change of a VPC's record."""
        raise NotImplementedError

    def changed_other(self, key: str, value: bytes | None) -> None:
        """Handle the change of a record outside VPCs. None: deleted."""
        raise NotImplementedError

    def put(self, key: str, value: bytes, revision: int) -> None:
        """Store a record, unless a version of the same or a later revision is known."""
        family = self._raw.setdefault(_family(key), {})
        known = family.get(key)
        if known is not None and revision <= known[0]:
            return
        family[key] = (revision, value)
        self.changes += 1
        if known is None or known[1] != value:
            self._set(key, value, revision)

    def drop(self, key: str, revision: int) -> None:
        """Remove a record that was deleted at `revision`."""
        known = self._raw.get(_family(key), {}).get(key)
        if known is not None and known[0] < revision:
            self.forget(key)
            self._set(key, None, revision)

    def replace(self, prefixes: Iterable[str], listed: dict[str, tuple[int, bytes]], revision: int) -> None:
        """Make the records below `prefixes` equal to a listing at `revision`."""
        for prefix in prefixes:
            known = self._raw.get(_family(prefix), ())
            for key in [key for key in known if key.startswith(prefix) and key not in listed]:
                self.drop(key, revision)
        for key, (modified, value) in listed.items():
            self.put(key, value, modified)

    def revisions(self, prefix: str) -> dict[str, int]:
        """Return the revision of each known key below a prefix."""
        return {key: known[0] for key, known in self._raw.get(_family(prefix), {}).items() if key.startswith(prefix)}

    def forget(self, key: str) -> None:
        """Remove a raw record, without a call of the subclass."""
        family = self._raw[_family(key)]
        del family[key]
        self.changes += 1
        if not family:
            del self._raw[_family(key)]

    def forget_vpc(self, vni: int) -> WatchedVpc | None:
        """Remove a VPC that is no longer watched. Return its known records."""
        for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni)):
            for key in self.below(_family(prefix)):
                self.forget(key)
        return self.vpcs.pop(vni, None)

    def below(self, family: str) -> tuple[str, ...]:
        """Return the known keys of a family, the first two parts of a key."""
        return tuple(self._raw.get(family, ()))

    def families(self, root: str) -> list[str]:
        """Return the families of the known keys below a root."""
        return [family for family in self._raw if family.startswith(f"{root}/")]

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
        vni = records.vni  # the same object for all records
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
                if of is Mapping:
                    _share(record, records.vni, name)
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


def _share(mapping: Mapping, vni: int, address: str) -> None:
    """Let a mapping that was just decoded use equal values that are there already: mappings are the most numerous records."""
    if (mapping.vni, mapping.address) == (vni, address):  # else the compiler refuses it
        msgspec.structs.force_setattr(mapping, "vni", vni)
        msgspec.structs.force_setattr(mapping, "address", address)
    for field in ("host", "vtep", "groups"):
        msgspec.structs.force_setattr(mapping, field, _first(getattr(mapping, field)))


@lru_cache(maxsize=1 << 14)
def _first(value: T) -> T:
    """Return the first of equal values, while it is one of those used last."""
    return value


def _family(key: str) -> str:
    """Return the family of a key or a prefix: its first two parts, e.g. vpc/001388, or pool/ if there is no third one."""
    root, _, rest = key.partition("/")
    second, slash, _ = rest.partition("/")
    return f"{root}/{second}" if slash else f"{root}/"
