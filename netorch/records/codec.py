"""Encoding and decoding of stored records.

An unreadable or inconsistent record causes an error with its key; netorch guesses nothing and does not overwrite the record. The
same applies to records of a newer version. A record begins with its schema number (`netorch.model.record`) unless the number is
1. Decoding refuses unknown numbers and unknown fields. The reader then leaves the whole VPC or host unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from netorch.errors import NewerRecord, UnreadableRecord
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
_encode: Final = msgspec.json.Encoder().encode
_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


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
    decoder = _DECODERS.get(kind) or _DECODERS.setdefault(kind, msgspec.json.Decoder(kind))
    try:
        found: T = decoder.decode(value)
    except UNREADABLE as error:
        raise UnreadableRecord(key, f"cannot be read: {error}") from error
    return found


def encode(record: object) -> bytes:
    """Return a record as JSON. The schema number comes first, unless it is 1."""
    value = _encode(record)
    number = schema_of(type(record))
    return value if number == 1 else b"%b%d%b%b" % (_NUMBERED, number, b"," if value != b"{}" else b"", value[1:])


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
    if not digits.isdigit():
        return value  # decoding will fail
    if int(digits) > schema_of(kind):
        what = f"has schema {int(digits)}, and this version of netorch knows {kind.__name__} up to {schema_of(kind)}"
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
