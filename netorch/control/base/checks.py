"""Apply the rules of `netorch.model.rules` and refuse with EC2's error codes. All returned values are canonical."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.addr import AddressError, Prefix, canonical_ip, format_ip, parse_ip, parse_prefix
from netorch.model.rules import Violation
from netorch.model.vpc import Tags
from netorch.records.errors import invalid

RESERVED_FIRST: Final = 4  # network, router, resolver, one for future use; as in EC2
RESERVED_LAST: Final = 1


def name(where: str, text: str) -> str:
    """Return a name that is valid in a key and cannot be mistaken for an id. Raises ApiError."""
    if violation := rules.name(text):
        raise invalid(where, violation.what, violation.fix)
    return text


def host_name(where: str, text: str) -> str:
    """Return a name for a host. Raises ApiError."""
    if violation := rules.host_name(text):
        raise invalid(where, violation.what, violation.fix)
    return text


def tags(where: str, given: Tags | None) -> Tags:
    """Return tags that a customer may set. Raises ApiError: TagLimitExceeded, InvalidParameterValue."""
    found = given or {}
    if len(found) > rules.MAX_TAGS:
        raise ApiError("TagLimitExceeded", f"{where}: there are {len(found)} tags; keep at most {rules.MAX_TAGS}")
    for key, value in found.items():
        if violation := rules.tag_key(key) or rules.tag_value(value):
            raise invalid(where, violation.what, violation.fix)
    return found


def cidr(text: str, where: str, code: str, rule: Callable[[str], Prefix | Violation]) -> Prefix:
    """Return a prefix with its host bits cleared, as EC2 does.

    Raises:
      ApiError: InvalidParameterValue if the text is not a CIDR, `code` if `rule` refuses the prefix.
    """
    try:
        text = str(parse_prefix(text, strict=False))
    except AddressError as error:
        raise invalid(where, str(error), "write e.g. 10.0.0.0/16") from None
    prefix = rule(text)
    if isinstance(prefix, Violation):
        raise ApiError(code, f"{where}: {prefix.what}; {prefix.fix}")
    return prefix


def address(text: str, where: str, version: int) -> str:
    """Return an address in its canonical form. Raises ApiError."""
    value = rules.address(text, version)
    if isinstance(value, Violation):
        raise invalid(where, value.what, value.fix)
    return canonical_ip(text)


def underlay(text: str, where: str) -> str:
    """Return a VTEP address in its canonical form. Raises ApiError."""
    value = rules.underlay_address(text)
    if isinstance(value, Violation):
        raise invalid(where, value.what, value.fix)
    return canonical_ip(text)


def mac(text: str, where: str) -> str:
    """Return a MAC address in its canonical form. Raises ApiError."""
    found = rules.mac(text)
    if isinstance(found, Violation):
        raise invalid(where, found.what, found.fix)
    return found


def usable(prefix: Prefix) -> range:
    """Return the addresses that a subnet gives out, as integers: all but EC2's five reserved ones."""
    return range(prefix.network + RESERVED_FIRST, prefix.last + 1 - RESERVED_LAST)


def inside(subnet_id: str, prefix: Prefix, text: str) -> None:
    """Refuse an address that the subnet does not give out. Raises ApiError."""
    version, value = parse_ip(text)
    pool = usable(prefix)
    if version != prefix.version or value not in pool:
        span = f"{format_ip(prefix.version, pool.start)} to {format_ip(prefix.version, pool.stop - 1)}"
        raise invalid(f"subnet {subnet_id}", f"{text} is not one of the addresses that it allocates", f"choose one of {span}")
