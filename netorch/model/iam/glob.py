"""Texts with wildcards: `*` is any number of characters, `?` is one.

A pattern is a customer's, and what it is compared with is another one's. So a comparison takes a number of steps that the pattern
alone says (`Glob.effort`), whatever both hold. What stands between two stars has a fixed length, and is searched from the left:
the first place is as good as any, so none is tried again. A search is a step for each character of the pattern. The step is one
operation on an integer with a bit for each place of the text, of which 1,024 characters need no more than a cache line or two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import compress

import msgspec

_TEXTS_KEPT = 4  # of one request: what its action and its resource have been split to


class Part(msgspec.Struct, frozen=True):
    """What stands before, between or behind stars."""

    text: str
    fixed: bytes  # for each character 1, or 0 if any character may stand in its place

    @property
    def is_plain(self) -> bool:
        """Return whether there is no `?`."""
        return 0 not in self.fixed

    def stands(self, text: str, at: int) -> bool:
        """Return whether the text has this part at a place, at which it has as many characters."""
        if self.is_plain:
            return text.startswith(self.text, at)
        return all(text[at + offset] == self.text[offset] for offset in compress(range(len(self.text)), self.fixed))

    def find(self, places: Mapping[str, int], start: int, end: int) -> int:
        """Return the first place from `start` on at which a text has this part, all of it before `end`; -1: there is none."""
        room = end - start - len(self.text)
        left = ((1 << room + 1) - 1) << start if room >= 0 else 0
        for offset in compress(range(len(self.text)), self.fixed):
            if not left:
                break
            left &= places.get(self.text[offset], 0) >> offset
        return (left & -left).bit_length() - 1


class Glob(msgspec.Struct, frozen=True):
    """A pattern, ready to be compared."""

    text: str
    parts: tuple[Part, ...]  # before, between and behind stars; one: there is no star
    ignore_case: bool

    def matches(self, text: str) -> bool:
        """Return whether the whole text is what the pattern describes."""
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
        """Return how many steps a comparison takes at most."""
        searched = self.parts[1:-1]
        compared = [part for part in (self.parts[0], self.parts[-1]) if not part.is_plain]
        return 1 + len(searched) + sum(len(part.text) for part in (*searched, *compared))


def glob(text: str, *, variables: bool, ignore_case: bool = False) -> Glob:
    """Return a pattern; with `variables`, `${*}`, `${?}` and `${$}` are the characters themselves (Version 2012-10-17)."""
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
    """Return the text that a value without wildcards stands for: of `${*}`, `${?}` and `${$}` the characters themselves."""
    return re.sub(r"\$\{([*?$])\}", r"\1", text) if variables else text


@lru_cache(_TEXTS_KEPT)
def places_of(text: str) -> Mapping[str, int]:
    """Return where a text has each of its characters, as an integer with a bit for each place."""
    places: dict[str, int] = {}
    for place, char in enumerate(text):
        places[char] = places.get(char, 0) | 1 << place
    return places
