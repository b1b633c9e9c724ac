"""Checks of values of stored records of any kind: the rules for single values again.

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

SOURCE_TAG: Final = "netorch:source"  # netorch's own tag: the file that declares a VPC or a top-level instance

_REMEMBERED: Final = 1 << 16
_DIGITS = re.compile(r"[0-9a-f]{17}\Z")


class Invalid(ValueError):
    """A record's value is invalid. The message names the field."""


def need_key(key: str, own: str) -> None:
    """Raise unless a record is stored at its own key."""
    if key != own:
        raise Invalid(f"it names itself {shown(own)}")


def need(field: str, violation: object) -> None:
    """Raise if a rule returned a Violation."""
    if isinstance(violation, Violation):
        raise Invalid(f"{field}: {violation.what}")


name_violation = lru_cache(_REMEMBERED)(rules.name)
_tag_key = lru_cache(_REMEMBERED)(rules.tag_key)
_tag_value = lru_cache(_REMEMBERED)(rules.tag_value)


@lru_cache(_REMEMBERED)
def _prefix(text: str, rule: Callable[[str], Prefix | Violation] | None) -> Prefix | Violation:
    """Return the prefix of a canonical text, or the violation of the form or the rule."""
    try:
        found = parse_prefix(text)
    except AddressError as error:
        return Violation(str(error), "")
    if str(found) != text:
        return Violation(f"{shown(text)} is not in its usual form, {found}", "")
    return rule(text) if rule is not None else found


def need_cidr(field: str, text: str, rule: Callable[[str], Prefix | Violation] | None = None) -> Prefix:
    """Return the prefix of a text in canonical form that a rule permits. Raises Invalid."""
    found = _prefix(text, rule)
    if isinstance(found, Violation):
        raise Invalid(f"{field}: {found.what}")
    return found


def need_address(field: str, text: str, version: int) -> None:
    """Raise unless a text is an address of that IP version in canonical form."""
    try:
        if version_of(text) == version and canonical_ip(text) == text:
            return
    except AddressError:
        pass
    raise Invalid(f"{field}: {shown(text)} is not an IPv{version} address in its usual form")


def need_mac(text: str) -> None:
    """Raise unless a text is a MAC address in canonical form."""
    if rules.mac(text) != text:
        raise Invalid(f"mac: {shown(text)} is not a MAC address in its usual form")


def need_tags(tags: Tags) -> None:
    """Raise for invalid tags."""
    for key, value in tags.items():
        if key == SOURCE_TAG:
            if not value.isprintable():
                raise Invalid(f"tags: {shown(value)} is not the name of a file")
        elif violation := _tag_key(key) or _tag_value(value):
            raise Invalid(f"tags: {violation.what}")


def need_id(field: str, text: str, kind: str, vni: int | None = None) -> None:
    """Raise unless a text is an id of that kind in VPC `vni`. None: in any VPC."""
    if not text.startswith(f"{kind}-" if vni is None else f"{kind}-{vni:06x}") or not _DIGITS.match(text, len(kind) + 1):
        raise Invalid(f"{field}: {shown(text)} is not a {kind}" + (f" of VNI {vni}" if vni is not None else ""))


def need_member(key: str, record: Any, kind: str) -> None:  # noqa: ANN401 - any resource of a VPC
    """Check the common fields of a VPC's resources: key, id and tags."""
    need_key(key, keys.member(record.vni, record.id))
    need_id("id", record.id, kind, record.vni)
    need_labels(record)


def need_labels(record: Any) -> None:  # noqa: ANN401 - any record with tags
    """Raise for invalid tags of a record."""
    if record.tags:
        need_tags(record.tags)


@lru_cache(_REMEMBERED)
def need_place(host: str, vtep: str) -> None:
    """Raise unless the host name and the VTEP are valid."""
    need("host", rules.host_name(host))
    need("vtep", rules.underlay_address(vtep))
    need_address("vtep", vtep, 4)


def need_single(field: str, texts: Iterable[str]) -> None:
    """Raise for a duplicate text."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise Invalid(f"{field}: {text} is listed twice")
        seen.add(text)
