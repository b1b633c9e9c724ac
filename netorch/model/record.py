"""What records have in common."""

from __future__ import annotations

from typing import ClassVar

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A value inside a record. A field that this version does not know is refused: what it permits or forbids is not known.

    Values are in no cycles, so the garbage collector leaves them alone (`gc=False`).
    """


class Record(Part, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A record of the store.

    `SCHEMA` numbers its forms. Raise it by one with every change of what its fields, or those of its parts, may say or mean, and
    give new fields defaults. A reader that knows lower numbers only leaves alone what the record belongs to; this version reads
    the records of all lower numbers. Number 1 is not written.
    """

    SCHEMA: ClassVar[int] = 1
