"""The parsers of single values of a condition."""

from __future__ import annotations

import re
from typing import Final

from netorch.model.addr import BITS, AddressError, Prefix, parse_ip, parse_prefix
from netorch.model.iam.conditions import Kind, Value
from netorch.model.iam.glob import glob, plain
from netorch.model.rules import Violation, shown

_VARIABLE: Final = re.compile(r"\$\{(?![*?$]\})")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}\Z")
_BOOLS: Final = {"true": True, "false": False}


def variables_problem(text: str) -> Violation | None:
    """Return the error in a text with a variable (Version 2012-10-17), or None."""
    if not _VARIABLE.search(text):
        return None
    return Violation(
        f"{shown(text)} has a policy variable, and netorch supports none", "write ${$} for a '$' itself, or leave it out"
    )


def read_value(kind: Kind, found: object, *, variables: bool) -> Value | Violation:
    """Return one value in the type that an operator of this kind needs, or the error in it.

    A number or boolean may be a JSON value or a text. With `variables`, ${*}, ${?} and ${$} are literal characters.
    """
    match kind:
        case Kind.ADDRESS:
            return _prefix(found)
        case Kind.NUMBER:
            return _number(found)
        case Kind.BOOL | Kind.NULL:
            value = found if isinstance(found, bool) else _BOOLS.get(found.lower()) if isinstance(found, str) else None
            return Violation(f"{shown(found)} is neither true nor false", 'write "true" or "false"') if value is None else value
    if not isinstance(found, str):
        return Violation(f"{shown(found)} is not a text", "write it in quotes")
    if variables and (violation := variables_problem(found)):
        return violation
    return glob(found, variables=variables) if kind is Kind.LIKE else plain(found, variables=variables)


def _prefix(found: object) -> Prefix | Violation:
    if isinstance(found, str):
        try:
            if "/" in found:
                return parse_prefix(found)
            version, value = parse_ip(found)
            return Prefix(version, value, BITS[version])
        except AddressError:
            pass
    return Violation(f"{shown(found)} is neither an address nor a prefix without host bits", 'write e.g. "10.0.0.0/16"')


def _number(found: object) -> int | Violation:
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**18:
        return found
    if isinstance(found, str) and _NUMBER.match(found):
        return int(found)
    return Violation(f"{shown(found)} is not a whole number", "write e.g. 100")
