"""The field's words: private words and phrases that were replaced do not come back into code and documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = {".md", ".py", ".sh", ".yaml", ".yml", ".txt", ".err", ""}
PLACES = ("netorch", "policy", "edges", "docs", "tests", "scripts", "containerlab")

# Forbidden text -> its replacement. Regular expressions for whole words, of any case.
PRIVATE = {
    r"fabrics?": "overlay",
    r"flaws?|flawed": "violation, decode error, problem",
    r"poison(s|ed)?": "unreadable, malformed",
    r"mend(s|ed|ing)?": "repair",
    r"quarantined?": "isolated (a VPC or host), hold-down (a VNI)",
    r"outbox": "publisher",
    r"untold": "suppressed",
    r"lodgers?": "instances of the default VPC",
    r"rulebooks?": "policy index",
    r"refused packets?": "dropped packets",
    r"half[-_]?made": "incomplete",
    r"newborns?|funerals?|doomed": "new, delete order, to be deleted",
}
PHRASES = {
    r"lest": "so that ... not",
    r"anew": "again",
    r"by now": "now, so far",
    r"begins? no other": "cannot open new ones",
    r"leaves with \d+": "exits with status",
    r"counts? as not said": "is ignored",
    r"(fabric|private) namespace": "overlay namespace",
    r"what stands at": "the value of",
    r"is made good by": "covers",
}
# Old names of identifiers, without those that are plain English words.
IDENTIFIERS = {"Flaw", "Wish", "Draft", "Outbox", "Rulebook", "Judge", "Judgement", "Lodger", "fabric_netns", "keys.want"}


def written() -> dict[str, str]:
    """Return the texts of the tree by path, without this file."""
    files = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for place in PLACES:
        files += [path for path in (ROOT / place).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found = {}
    for path in files:
        if path.suffix in SUFFIXES and path.name not in ("lab-kernel.config", Path(__file__).name):
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8", errors="replace")
    return found


TEXTS = written()


def places(pattern: str, flags: re.RegexFlag = re.IGNORECASE) -> list[str]:
    """Return the places of a pattern, as path:line."""
    compiled = re.compile(pattern, flags)
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path, text in TEXTS.items()
        for match in compiled.finditer(text)
    ]


@pytest.mark.parametrize("word", PRIVATE | PHRASES)
def test_a_word_of_the_field_is_used_instead(word: str) -> None:
    # A part of an identifier counts as a word.
    assert places(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])") == [], f"write: {(PRIVATE | PHRASES)[word]}"


def test_old_names_do_not_come_back() -> None:
    names = "|".join(map(re.escape, sorted(IDENTIFIERS)))
    assert places(rf"(?<![\w.])(?:{names})(?!\w)", re.RegexFlag(0)) == []


def test_the_search_finds_what_it_looks_for() -> None:
    assert places(r"(?<![A-Za-z])netorch(?![A-Za-z])")
