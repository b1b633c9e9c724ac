"""The base classes of records."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A value inside a record. Decoding fails on an unknown field, because the field may permit or forbid something.

    Values form no reference cycles, so the garbage collector need not track them (`gc=False`).
    """


class Record(Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A record of the store.

    `SCHEMA` is the version of its format. Raise it by one with every change of the values or the meaning of its fields or of its
    parts' fields, and give new fields defaults. A reader that knows only lower numbers does not touch the resource of the record.
    This version reads the records of all lower numbers. Number 1 is not written.

    `KEYED` records are numerous. Their key contains `id` and `vni`, so their stored values leave both out.
    """

    SCHEMA: ClassVar[int] = 1
    KEYED: ClassVar[bool] = False
