"""Texts with wildcards: `*` is any number of characters, `?` is one.

A pattern is a customer's, and what it is compared with is another one's. So a comparison takes time in proportion to the product
of their lengths at most, whatever both hold: each `*` takes as little as it can and is never tried again, which finds a match if
there is one, because what stands between two of them has a fixed length.
"""

from __future__ import annotations

import re

import msgspec


class Glob(msgspec.Struct, frozen=True):
    """A pattern, ready to be compared."""

    text: str
    compiled: re.Pattern[str]

    def matches(self, text: str) -> bool:
        """Return whether the whole text is what the pattern describes."""
        return self.compiled.fullmatch(text) is not None


def glob(text: str, *, variables: bool, ignore_case: bool = False) -> Glob:
    """Return a pattern; with `variables`, `${*}`, `${?}` and `${$}` are the characters themselves (Version 2012-10-17)."""
    escaped = re.compile(r"\$\{([*?$])\}|(.)", re.DOTALL) if variables else re.compile(r"(\Z.)|(.)", re.DOTALL)
    parts = [""]
    for found in escaped.finditer(text):
        if found[1] is None and found[2] == "*":
            parts.append("")
        else:
            parts[-1] += "." if found[1] is None and found[2] == "?" else re.escape(found[1] or found[2])
    first, *others = parts
    middle = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    last = f".*{others[-1]}" if others else ""
    return Glob(text, re.compile(first + middle + last, re.DOTALL | (re.IGNORECASE if ignore_case else 0)))


def plain(text: str, *, variables: bool) -> str:
    """Return the text that a value without wildcards stands for: of `${*}`, `${?}` and `${$}` the characters themselves."""
    return re.sub(r"\$\{([*?$])\}", r"\1", text) if variables else text
