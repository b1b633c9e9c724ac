"""Errors for programs: a line of JSON on stderr, if the output format is json or yaml."""

from __future__ import annotations

import json
from typing import Any

from netorch.errors import ApiError, NetorchError, SpecError


def as_json(text: str, exit_code: int, error: NetorchError | None = None) -> str:
    """Return an error as one line of JSON; `code` is EC2's, or the type of the error."""
    code = code_of(error)
    told: dict[str, Any] = {"code": code, "message": text.removeprefix(f"{code}: "), "exit_code": exit_code}
    if isinstance(error, SpecError):
        told["source"] = error.source
        told["problems"] = [{"path": p.path, "line": p.line, "what": p.what, "fix": p.fix} for p in error.problems]
    return json.dumps({"error": told})


def code_of(error: NetorchError | None) -> str:
    """Return an error's code."""
    if isinstance(error, ApiError):
        return error.code
    return type(error).__name__ if error is not None else "UsageError"


def warning_as_json(text: str) -> str:
    """Return a warning as one line of JSON."""
    return json.dumps({"warning": {"message": text}})
