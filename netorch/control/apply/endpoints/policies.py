"""The change of a policy as a plan shows it."""

from __future__ import annotations

import json

from netorch.control.apply.changes import sides


def policy_sides(before: str, after: str) -> tuple[str, str]:
    """Return the numbers of statements of two different policies; empty for no policy."""
    return sides(_words(before), _words(after)) if before != after else ("", "")


def _words(text: str) -> str:
    """Return a summary of a stored or checked policy."""
    if not text:
        return ""
    try:
        statements = json.loads(text)["Statement"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return f"{len(text)} characters that are not a policy"
    count = len(statements) if isinstance(statements, list) else 1
    return f"{count} statement{'s' if count != 1 else ''}"
