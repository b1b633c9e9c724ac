"""EC2's errors. Programs match the code; the text is for people."""

from __future__ import annotations

from netorch.errors import ApiError
from netorch.records.kinds import BY_PREFIX


def not_found(kind: str, what: str) -> ApiError:
    """Return the error for an id that does not exist for this caller."""
    found = BY_PREFIX[kind]
    text = f"{found.noun} {what!r}: does not exist; `netorch {found.command} list` lists them"
    return ApiError(found.not_found, text)


def invalid(where: str, what: str, fix: str) -> ApiError:
    """Return the error for an invalid parameter value."""
    return ApiError("InvalidParameterValue", f"{where}: {what}; {fix}")


def duplicate_name(kind: str, name: str, scope: str) -> ApiError:
    """Return the error for a duplicate name."""
    found = BY_PREFIX[kind]
    return ApiError(found.duplicate, f"{found.noun} {name!r}: {scope} already has one with that name; choose another name")


def in_use(kind: str, what: str, by: str, fix: str) -> ApiError:
    """Return the error for the deletion of a resource that others depend on."""
    return ApiError("DependencyViolation", f"{BY_PREFIX[kind].noun} {what}: still has {by}; {fix}")


def start_agent(host: str) -> str:
    """Return the advice to start a host's agent. For a lab, netorch.cli.called replaces the command."""
    return f"start it on {host}: systemctl start netorch-agent"
