"""A document as a tree with lines and spelling, built only for invalid files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

MAX_DEPTH: Final = 32

Scalar = None | bool | int | float | str

# YAML 1.2.2 section 10.3.2 (core schema). YAML 1.1's no, off, 0777, 1:30 and 2020-01-01 are text or decimal numbers in 1.2.
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,4000}\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,4000}\Z")
_OCTAL = re.compile(r"0o[0-7]{1,4000}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")


class Node(msgspec.Struct, kw_only=True):
    """One value. `line` is the line of its key, or without a key its first line; 0 if unknown.

    `text` is a plain scalar as written, so that error texts show 010 and 1e3 as in the file.
    """

    value: Scalar | list[Node] | dict[str, Node]
    line: int = 0
    text: str = ""
    size: int = 1
    repeated: list[tuple[str, int]] = []


def scalar(text: str) -> Scalar:
    """Return the YAML 1.2 value of an unquoted scalar."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.match(text):
        return int(text)
    if _HEX.match(text):
        return int(text, 16)
    if _OCTAL.match(text):
        return int(text, 8)
    return float("nan") if _FLOAT.match(text) else text  # no field is a float, so any float will do


def walk(node: Node, where: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
    """Yield every node with its path, parents first, down to MAX_DEPTH."""
    yield where, node
    if len(where) == MAX_DEPTH:
        return
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from walk(item, (*where, index))
    elif isinstance(node.value, dict):
        for key, item in node.value.items():
            yield from walk(item, (*where, key))
