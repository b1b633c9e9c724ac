"""Private zones: DNS zones that an owner creates for its VPCs. Route 53's private hosted zones.

    zone/<owner>/<id>        PrivateZone   the zone and its record sets
    map/<vni>/zone/<id>      VpcZone       a copy for each associated VPC, because hosts read only the records of their VPCs

One transaction writes the zone and all copies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final

import msgspec

from netorch.model.addr import AddressError, canonical_ip, version_of
from netorch.model.record import Part, Record
from netorch.model.rules import MAX_DNS_NAME, Violation, shown
from netorch.model.services.private_names import DOMAIN, SERVICES_DOMAIN
from netorch.model.vpc import Tags

APEX: Final = "@"  # the name of the zone itself, as in master files
DEFAULT_TTL: Final = 300  # seconds; Route 53's
MAX_TTL: Final = 2_147_483_647  # RFC 2181 section 8
MAX_ZONE_BYTES: Final = 57_344  # size of its stored record sets: one transaction writes a copy for each of its VPCs
MAX_SET_BYTES: Final = 16_384  # size of a record set in an answer
_OF_RECORD: Final = 28  # maximum size in an answer of a record without its text, in bytes
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_TEXT: Final = re.compile(r"[ !#-~]{1,4000}\Z")  # printable ASCII without quotes
_RESERVED: Final = (DOMAIN, SERVICES_DOMAIN)


class RecordType(Enum):
    """The types of records that a zone may have."""

    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    MX = "MX"
    SRV = "SRV"
    TXT = "TXT"


class RecordSet(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The values of one name and type. `values` are sorted and in the form that `checked_values` returns."""

    name: str  # relative to the zone's domain, lower case; APEX: the domain itself. `*` may be the first label
    type: RecordType
    ttl: int = DEFAULT_TTL  # seconds
    values: tuple[str, ...]


class PrivateZone(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A private zone. Stored at `zone/<owner>/<id>`."""

    id: str
    owner: str
    name: str
    domain: str  # lower case, without a trailing dot
    records: tuple[RecordSet, ...] = ()  # sorted by name and type
    tags: Tags = {}


class VpcZone(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The copy of a zone for an associated VPC. Stored at `map/<vni>/zone/<id>`."""

    vni: int
    zone: str  # the zone's id
    domain: str
    records: tuple[RecordSet, ...] = ()


def copy_of(zone: PrivateZone, vni: int) -> VpcZone:
    """Return the copy of a zone for a VPC."""
    return VpcZone(vni=vni, zone=zone.id, domain=zone.domain, records=zone.records)


def full_name(record: RecordSet, domain: str) -> str:
    """Return the fully qualified name of a record set."""
    return domain if record.name == APEX else f"{record.name}.{domain}"


def in_order(records: Iterable[RecordSet]) -> tuple[RecordSet, ...]:
    """Return record sets in the order of a zone's `records`."""
    return tuple(sorted(records, key=lambda record: (record.name != APEX, record.name, record.type.value)))


def plain(name: str) -> str:
    """Return a DNS name in lower case, without a trailing dot."""
    return name.lower().removesuffix(".")


def relative_name(text: str, domain: str) -> str:
    """Return the name of a record set relative to the domain. The text may be relative, fully qualified, or the domain itself."""
    name = plain(text)
    if name in (APEX, domain):
        return APEX
    return name.removesuffix(f".{domain}")


def domain_violation(domain: str) -> Violation | None:
    """Return the error in the domain of a zone, or None."""
    if not _is_name(domain):
        return Violation(f"{shown(domain)} is not a domain name", "write e.g. corp.example")
    reserved = next((name for name in _RESERVED if domain == name or domain.endswith(f".{name}")), "")
    if reserved:
        return Violation(f"{shown(domain)} is within {reserved}, whose names netorch generates", "choose another domain")
    return None


def record_violation(record: RecordSet, domain: str) -> Violation | None:
    """Return the error in a single record set, or None."""
    labels = record.name.split(".")
    labels = labels[1:] if labels[0] == "*" else labels
    whole = ".".join((*labels, domain))
    if record.name != APEX and not (len(full_name(record, domain)) <= MAX_DNS_NAME and _is_name(whole)):
        return Violation(
            f"{shown(record.name)} is not a name", "write labels of letters, digits, '-' and '_'; '*' may be the first"
        )
    if record.name == domain or record.name.endswith(f".{domain}"):
        return Violation(f"{shown(full_name(record, domain))} has the domain twice", "write it once, or leave it out")
    if not 0 <= record.ttl <= MAX_TTL:
        return Violation(f"the TTL {record.ttl} is out of range", f"choose 0 to {MAX_TTL} seconds")
    if not record.values:
        return Violation("the record has no values", "write at least one")
    if record.type is RecordType.CNAME and record.name == APEX:
        return Violation("the domain itself cannot be an alias", "choose another type, e.g. A (RFC 1034 section 3.6.2)")
    if record.type is RecordType.CNAME and len(record.values) > 1:
        return Violation(f"the alias has {len(record.values)} targets", "keep one")
    size = set_bytes(master_text(record))
    if size > MAX_SET_BYTES:
        return Violation(f"the values take {size} bytes of an answer", f"keep them within {MAX_SET_BYTES}")
    return None


def zone_violation(records: tuple[RecordSet, ...]) -> Violation | None:
    """Return the error in a zone's record sets as a whole, or None."""
    seen: dict[str, set[RecordType]] = {}
    size = len(msgspec.json.encode(records))
    for record in records:
        types = seen.setdefault(record.name, set())
        if record.type in types:
            return Violation(f"{record.name} {record.type.value} is listed twice", "put the values into one record")
        types.add(record.type)
        if RecordType.CNAME in types and len(types) > 1:
            fix = "delete one of them: a name with an alias has no other records (RFC 1034 section 3.6.2)"
            return Violation(f"{record.name} is an alias (CNAME) and has other records", fix)
    if size > MAX_ZONE_BYTES:
        return Violation(f"the record sets have {size} bytes", f"keep them within {MAX_ZONE_BYTES}, e.g. in several zones")
    return None


def checked_values(type: RecordType, texts: Iterable[str]) -> tuple[str, ...] | Violation:
    """Return values in canonical form, sorted, or the error in one of them."""
    found: set[str] = set()
    for text in texts:
        value = _VALUES[type](text)
        if isinstance(value, Violation):
            return value
        found.add(value)
    return tuple(sorted(found))


def master_text(record: RecordSet) -> Iterator[str]:
    """Yield the values in master file format (RFC 1035 section 5.1)."""
    for value in record.values:
        if record.type is not RecordType.TXT:
            yield value if record.type in (RecordType.A, RecordType.AAAA) else f"{value}."
        else:
            parts = [value[start : start + 255] for start in range(0, len(value), 255)]
            yield " ".join('"{}"'.format(part.replace("\\", "\\\\")) for part in parts)


def set_bytes(texts: Iterable[str]) -> int:
    """Return the maximum size of a record set in an answer, in bytes, from its values in master file format."""
    return sum(len(text) + _OF_RECORD for text in texts)


def _is_name(name: str) -> bool:
    return len(name) <= MAX_DNS_NAME and all(map(_LABEL.match, name.split(".")))


def _address(version: int, example: str) -> Callable[[str], str | Violation]:
    def check(text: str) -> str | Violation:
        try:
            if version_of(text) == version:
                return canonical_ip(text)
        except AddressError:
            pass
        return Violation(f"{shown(text)} is not an IPv{version} address", f"write e.g. {example}")

    return check


def _target(numbers: int, example: str) -> Callable[[str], str | Violation]:
    """Return the check of a value that consists of `numbers` 16-bit numbers and a name."""

    def check(text: str) -> str | Violation:
        *words, name = text.split() or [""]
        whole = plain(name)
        good = len(words) == numbers and all(word.isascii() and word.isdigit() and int(word) <= 0xFFFF for word in words)
        if not good or not _is_name(whole):
            return Violation(f"{shown(text)} is not a value of such a record", f"write e.g. {example}")
        return " ".join((*(str(int(word)) for word in words), whole))

    return check


def _text(text: str) -> str | Violation:
    if _TEXT.match(text):
        return text
    return Violation(f"{shown(text)} is not a text", "write 1 to 4,000 printable ASCII characters, without quotes")


_VALUES: Final[dict[RecordType, Callable[[str], str | Violation]]] = {
    RecordType.A: _address(4, "10.44.12.4"),
    RecordType.AAAA: _address(6, "2001:db8::4"),
    RecordType.CNAME: _target(0, "db-1.corp.example"),
    RecordType.MX: _target(1, "'10 mail.corp.example'"),
    RecordType.SRV: _target(3, "'0 5 5432 db-1.corp.example'"),
    RecordType.TXT: _text,
}
