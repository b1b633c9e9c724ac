"""Encoding and decoding of stored records.

An unreadable or inconsistent record causes an error with its key; netorch guesses nothing and does not overwrite the record. The
same applies to records of a newer version. A record begins with its schema number (`netorch.model.record`) unless the number is
1. Decoding refuses unknown numbers and unknown fields. The reader then leaves the whole VPC or host unchanged.

Numerous records leave out the id and the VNI, which their key says. A value that has them all the same (of an older version, or
of another key) is decoded with them, and the check compares them with the key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from netorch.decoding import decoder_of
from netorch.errors import NewerRecord, UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping, Reach
from netorch.model.services.zones import VpcZone
from netorch.model.status import HostMtu, Sealed, SealingKey
from netorch.records.kinds import BY_TYPE
from netorch.records.valid import members, outside, services, vpn
from netorch.records.valid.needs import Invalid
from netorch.store.base import DAMAGED, KeyValue

T = TypeVar("T")

UNKNOWN_KIND: Final = "is of a kind that this version of netorch does not know"
# All exceptions of decoding, for any bytes: msgspec's errors, refused values, JSON that is nested too deeply.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_CHECKS: Final[dict[type, Callable[[str, Any], None]]] = {
    Mapping: members.check_mapping,
    GatewayMapping: outside.check_gateway_mapping,
    PublicMapping: outside.check_public_mapping,
    Reach: vpn.check_reach,
    VpcZone: services.check_vpc_zone,
    HostMtu: members.check_host_mtu,
    SealingKey: vpn.check_sealing_key,
    Sealed: vpn.check_sealed,
}
_NUMBERED: Final = b'{"schema":'
_MOST_DIGITS: Final = 20  # of a schema number; int() refuses thousands of digits
_encode: Final = msgspec.json.Encoder().encode


def decode(kv: KeyValue, kind: type[T]) -> T:
    """Return the decoded and checked record of a key. Raises UnreadableRecord."""
    return decode_value(kv.key, kv.value, kind)


def decode_value(key: str, value: bytes, kind: type[T]) -> T:
    """Return the decoded and checked record of a key's bytes. Raises UnreadableRecord, also for a record of another key."""
    found = parse_value(key, value, kind)
    check_value(key, found)
    return found


def parse_value(key: str, value: bytes, kind: type[T]) -> T:
    """Return the decoded record of a key's bytes, unchecked. Raises UnreadableRecord."""
    check_sound(key, value)
    if value.startswith(_NUMBERED):
        value = _unnumbered(key, value, kind)
    if is_keyed(kind):
        value = _with_said(key, value)
    try:
        found = decoder_of(kind).decode(value)
    except UNREADABLE as error:
        raise UnreadableRecord(key, f"cannot be read: {error}") from error
    return found


def is_keyed(kind: object) -> bool:
    """Return whether stored values of a kind, or of a record's kind, leave out id and VNI, because their keys contain both."""
    return bool(getattr(kind, "KEYED", False))


def encode(record: object) -> bytes:
    """Return a record as JSON. The schema number comes first, unless it is 1."""
    value = _encode(record)
    number = schema_of(type(record))
    return value if number == 1 else b"%b%d%b%b" % (_NUMBERED, number, b"," if value != b"{}" else b"", value[1:])


def encode_at(key: str, record: object) -> bytes:
    """Return a record as JSON for a key, without what the key says."""
    value = encode(record)
    said = _said(key) if is_keyed(record) else b""
    before, found, after = value.partition(said) if said else (value, b"", b"")
    if not found or after[:1] not in (b",", b"}"):  # another VNI may begin with the same digits
        return value
    return before + after.removeprefix(b",") if after != b"}" else before[:-1] + after


def _said(key: str) -> bytes:
    """Return the fields `id` and `vni` that a key says, as JSON; empty for any other key."""
    root, *rest = key.split("/")
    if root == "vpc" and len(rest) == 3 and is_id(rest[2], rest[1]):
        return b'"id":"%b","vni":%d' % (rest[2].encode(), vni_of(rest[2]))
    return b""


def _with_said(key: str, value: bytes) -> bytes:
    """Return a value with the fields that its key says before its own: of two of the same name the last one counts."""
    said, rest = _said(key), value[1:]
    if not said or not value.startswith(b"{"):
        return value
    return b"{%b%b%b" % (said, b"" if rest.lstrip().startswith(b"}") else b",", rest)


def schema_of(kind: type) -> int:
    """Return the current schema number of a type."""
    return getattr(kind, "SCHEMA", 1)


def check_schema(key: str, value: bytes, kind: type) -> None:
    """Raise NewerRecord for a record with a newer schema than this version knows, whatever its content."""
    if value.startswith(_NUMBERED):
        _unnumbered(key, value, kind)


def _unnumbered(key: str, value: bytes, kind: type) -> bytes:
    """Return a record without its schema number. Raises NewerRecord."""
    digits, comma, rest = value[len(_NUMBERED) :].partition(b",")
    if not comma:
        digits, rest = digits.rstrip().removesuffix(b"}"), b"}"
    if not digits.isdigit() or len(digits) > _MOST_DIGITS:
        return value  # decoding will fail
    if int(digits) > schema_of(kind):
        what = f"has schema {int(digits)}, and this version of netorch supports {kind.__name__} up to {schema_of(kind)}"
        raise NewerRecord(key, what)
    return b"{" + rest


def check_sound(key: str, value: bytes) -> None:
    """Raise UnreadableRecord for a record that the store has marked as damaged."""
    if value.startswith(DAMAGED):
        raise UnreadableRecord(key, f"is damaged: {value[len(DAMAGED) :].partition(b': ')[0].decode(errors='replace')}")


def check_value(key: str, record: object) -> None:
    """Raise UnreadableRecord for a record that is not valid at its key. Of status records, this checks MTUs and keys only."""
    kind = BY_TYPE.get(type(record))
    check = kind.check if kind is not None else _CHECKS.get(type(record))
    try:
        if check is not None:
            check(key, record)
    except Invalid as error:
        raise UnreadableRecord(key, f"makes no sense: {error}") from error
