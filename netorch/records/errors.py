"""EC2's error codes as ready-made refusals; the code is what programs match, the text is for people."""

from __future__ import annotations

from netorch.errors import ApiError
from netorch.records.kinds import BY_PREFIX


def not_found(kind: str, what: str) -> ApiError:
    """Return the refusal of an id that does not exist for this caller."""
    found = BY_PREFIX[kind]
    text = f"{found.noun} {what!r}: does not exist; `netorch {found.command} list` shows those that do"
    return ApiError(found.not_found, text)


def invalid(where: str, what: str, fix: str) -> ApiError:
    """Return the refusal of a parameter's value."""
    return ApiError("InvalidParameterValue", f"{where}: {what}; {fix}")


def duplicate_name(kind: str, name: str, scope: str) -> ApiError:
    """Return the refusal of a name that is taken."""
    found = BY_PREFIX[kind]
    return ApiError(found.duplicate, f"{found.noun} {name!r}: {scope} has one of that name; choose another name")


def in_use(kind: str, what: str, by: str, fix: str) -> ApiError:
    """Return the refusal to delete something that others depend on."""
    return ApiError("DependencyViolation", f"{BY_PREFIX[kind].noun} {what}: still has {by}; {fix}")
