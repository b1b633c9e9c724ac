"""What a value of a stored record must be, whatever kind the record is of: the rules for single values once more.

Each function raises Invalid, which names the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from netorch.model import rules
from netorch.model.addr import AddressError, Prefix, canonical_ip, parse_prefix, version_of
from netorch.model.rules import Violation, shown
from netorch.model.vpc import Tags
from netorch.records import keys

SOURCE_TAG: Final = "netorch:source"  # netorch's own: which file made a VPC, or an instance at the top level

_REMEMBERED: Final = 1 << 16
_DIGITS = re.compile(r"[0-9a-f]{17}\Z")


class Invalid(ValueError):
    """A record's value makes no sense; says which one."""


def need_key(key: str, own: str) -> None:
    """Raise unless a record stands at its own key."""
    if key != own:
        raise Invalid(f"it says that it is {shown(own)}")


def need(field: str, violation: object) -> None:
    """Raise for what a rule found; rules return a value or nothing when all is well."""
    if isinstance(violation, Violation):
        raise Invalid(f"{field}: {violation.what}")


name_violation = lru_cache(_REMEMBERED)(rules.name)
_tag_key = lru_cache(_REMEMBERED)(rules.tag_key)
_tag_value = lru_cache(_REMEMBERED)(rules.tag_value)


@lru_cache(_REMEMBERED)
def _prefix(text: str, rule: Callable[[str], Prefix | Violation] | None) -> Prefix | Violation:
    """Return the prefix of a canonical text that the rule permits."""
    try:
        found = parse_prefix(text)
    except AddressError as error:
        return Violation(str(error), "")
    if str(found) != text:
        return Violation(f"{shown(text)} is not written as {found}", "")
    return rule(text) if rule is not None else found


def need_cidr(field: str, text: str, rule: Callable[[str], Prefix | Violation] | None = None) -> Prefix:
    """Return a prefix that is written as it must be, and that a rule permits. Raises Invalid."""
    found = _prefix(text, rule)
    if isinstance(found, Violation):
        raise Invalid(f"{field}: {found.what}")
    return found


def need_address(field: str, text: str, version: int) -> None:
    """Raise unless a text is an address of that IP version, in its usual form."""
    try:
        if version_of(text) == version and canonical_ip(text) == text:
            return
    except AddressError:
        pass
    raise Invalid(f"{field}: {shown(text)} is not an IPv{version} address in its usual form")


def need_mac(text: str) -> None:
    """Raise unless a text is a MAC address in its usual form."""
    if rules.mac(text) != text:
        raise Invalid(f"mac: {shown(text)} is not a MAC address in its usual form")


def need_tags(tags: Tags) -> None:
    """Raise for tags that nobody may have written."""
    for key, value in tags.items():
        if key == SOURCE_TAG:
            if not value.isprintable():
                raise Invalid(f"tags: {shown(value)} is not the name of a file")
        elif violation := _tag_key(key) or _tag_value(value):
            raise Invalid(f"tags: {violation.what}")


def need_id(field: str, text: str, kind: str, vni: int | None = None) -> None:
    """Raise unless a text is the id of something of that kind in the VPC, or in any."""
    if not text.startswith(f"{kind}-" if vni is None else f"{kind}-{vni:06x}") or not _DIGITS.match(text, len(kind) + 1):
        raise Invalid(f"{field}: {shown(text)} is no {kind}" + (f" of VNI {vni}" if vni is not None else ""))


def need_member(key: str, record: Any, kind: str) -> None:  # noqa: ANN401 - anything that a VPC has
    """Check what all members of a VPC have."""
    need_key(key, keys.member(record.vni, record.id))
    need_id("id", record.id, kind, record.vni)
    need_labels(record)


def need_labels(record: Any) -> None:  # noqa: ANN401 - anything that has tags
    """Raise for the tags of a record, if it has any."""
    if record.tags:
        need_tags(record.tags)


@lru_cache(_REMEMBERED)
def need_place(host: str, vtep: str) -> None:
    """Raise unless a host may have that name and that VTEP."""
    need("host", rules.host_name(host))
    need("vtep", rules.underlay_address(vtep))
    need_address("vtep", vtep, 4)


def need_single(field: str, texts: Iterable[str]) -> None:
    """Raise for a text that stands there twice."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise Invalid(f"{field}: {text} stands there twice")
        seen.add(text)
