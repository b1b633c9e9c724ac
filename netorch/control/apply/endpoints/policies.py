"""What people read in a plan of a policy that becomes another one."""

from __future__ import annotations

import json

from netorch.control.apply.changes import sides


def policy_sides(before: str, after: str) -> tuple[str, str]:
    """Return how many statements two policies have; nothing of none."""
    return sides(_words(before), _words(after)) if before != after else ("", "")


def _words(text: str) -> str:
    """Return what a stored or checked policy amounts to."""
    if not text:
        return ""
    try:
        statements = json.loads(text)["Statement"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return f"{len(text)} characters that are no policy"
    count = len(statements) if isinstance(statements, list) else 1
    return f"{count} statement{'s' if count != 1 else ''}"
