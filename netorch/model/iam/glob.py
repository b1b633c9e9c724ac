"""Texts with wildcards: `*` is any number of characters, `?` is one.

One customer writes the pattern, another the text. So the cost of a comparison is bounded by the pattern alone (`Glob.effort`),
whatever both contain. The part between two stars has a fixed length, and is searched from the left. The first match is as good
as any other, so there is no backtracking. A search takes one step per character of the pattern. A step is one operation on an
integer with one bit per position of the text; 1,024 characters need one or two cache lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import compress

import msgspec

_TEXTS_KEPT = 4  # enough for the action and the resource of one request


class Part(msgspec.Struct, frozen=True):
    """The part of a pattern before, between or after stars."""

    text: str
    fixed: bytes  # per character: 1, or 0 for `?`

    @property
    def is_plain(self) -> bool:
        """Return whether the part has no `?`."""
        return 0 not in self.fixed

    def stands(self, text: str, at: int) -> bool:
        """Return whether the text has this part at position `at`. The text must be long enough."""
        if self.is_plain:
            return text.startswith(self.text, at)
        return all(text[at + offset] == self.text[offset] for offset in compress(range(len(self.text)), self.fixed))

    def find(self, places: Mapping[str, int], start: int, end: int) -> int:
        """Return the first position of this part in a text between `start` and `end`, or -1."""
        room = end - start - len(self.text)
        left = ((1 << room + 1) - 1) << start if room >= 0 else 0
        for offset in compress(range(len(self.text)), self.fixed):
            if not left:
                break
            left &= places.get(self.text[offset], 0) >> offset
        return (left & -left).bit_length() - 1


class Glob(msgspec.Struct, frozen=True):
    """A compiled pattern."""

    text: str
    parts: tuple[Part, ...]  # before, between and after stars; a single part: no star
    ignore_case: bool

    def matches(self, text: str) -> bool:
        """Return whether the pattern matches the whole text."""
        text = text.lower() if self.ignore_case else text
        first, last = self.parts[0], self.parts[-1]
        if len(self.parts) == 1:
            return len(text) == len(first.text) and first.stands(text, 0)
        at, end = len(first.text), len(text) - len(last.text)
        if at > end or not first.stands(text, 0) or not last.stands(text, end):
            return False
        for part in self.parts[1:-1]:
            found = part.find(places_of(text), at, end)
            if found < 0:
                return False
            at = found + len(part.text)
        return True

    @property
    def effort(self) -> int:
        """Return the maximum number of steps of a comparison."""
        searched = self.parts[1:-1]
        compared = [part for part in (self.parts[0], self.parts[-1]) if not part.is_plain]
        return 1 + len(searched) + sum(len(part.text) for part in (*searched, *compared))


def glob(text: str, *, variables: bool, ignore_case: bool = False) -> Glob:
    """Return a compiled pattern. With `variables`, `${*}`, `${?}` and `${$}` are literal characters (Version 2012-10-17)."""
    read = re.compile(r"\$\{([*?$])\}|(.)", re.DOTALL) if variables else re.compile(r"(\Z.)|(.)", re.DOTALL)
    parts, fixed = [""], [bytearray()]
    for found in read.finditer(text.lower() if ignore_case else text):
        if found[2] == "*":
            parts.append("")
            fixed.append(bytearray())
        else:
            parts[-1] += found[1] or found[2]
            fixed[-1].append(found[2] != "?")
    made = [Part(part, bytes(mask)) for part, mask in zip(parts, fixed, strict=True)]
    return Glob(text, (made[0], *(part for part in made[1:-1] if part.text), *made[1:][-1:]), ignore_case)


def plain(text: str, *, variables: bool) -> str:
    """Return the text of a value without wildcards. With `variables`, `${*}`, `${?}` and `${$}` are literal characters."""
    return re.sub(r"\$\{([*?$])\}", r"\1", text) if variables else text


@lru_cache(_TEXTS_KEPT)
def places_of(text: str) -> Mapping[str, int]:
    """Return character -> its positions in a text, as an integer with one bit per position."""
    places: dict[str, int] = {}
    for place, char in enumerate(text):
        places[char] = places.get(char, 0) | 1 << place
    return places
