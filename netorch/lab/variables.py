"""Environment variables in a containerlab file, expanded before it is read as YAML.

The forms are those of containerlab, which uses github.com/a8m/envsubst without replacing unset variables:

  $NAME  ${NAME}                    the variable; left as written when it is not set
  ${NAME-text}   ${NAME=text}       text when NAME is not set
  ${NAME:-text}  ${NAME:=text}      text when NAME is not set or empty
  ${NAME+text}   ${NAME:+text}      text when NAME is set (and not empty), else nothing
  $$                                a dollar sign
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DOLLAR = re.compile(r"\$(?:\$|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?P<operator>:?[-=+]|\}))")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced. Other uses of the sign, such as $1 or $(date), stay as they are."""
    parts = []
    at = 0
    while match := _DOLLAR.search(text, at):
        parts.append(text[at : match.start()])
        value, at = _value(text, match, environ)
        parts.append(value)
    return "".join([*parts, text[at:]])


def _value(text: str, match: re.Match[str], environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the value of a variable, and where the text continues after it."""
    name, operator = match["name"] or match["braced"], match["operator"]
    if name is None:
        return "$", match.end()
    if operator in (None, "}"):
        return environ.get(name, match[0]), match.end()
    end = _closing(text, match.end())
    if end is None:
        return match[0], match.end()
    other = expand(text[match.end() : end], environ)
    given = name in environ and not (operator.startswith(":") and not environ[name])
    if operator.endswith("+"):
        return other if given else "", end + 1
    return environ[name] if given else other, end + 1


def _closing(text: str, at: int) -> int | None:
    """Return the place of the brace that closes the one before `at`; a variable inside has its own braces."""
    depth = 1
    for place in range(at, len(text)):
        if text[place] == "}":
            depth -= 1
            if not depth:
                return place
        elif text[place] == "{" and text[place - 1] == "$":
            depth += 1
        elif text[place] == "\n":
            return None
    return None
