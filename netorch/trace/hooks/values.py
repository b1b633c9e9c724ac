"""The right side of a match and the items of sets: numbers, addresses, names, ranges and prefixes in nft syntax."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netorch.model.addr import AddressError, parse_prefix
from netorch.trace.hooks.skb import Field, Kind, Value, number_of

Span = tuple[Value, Value]  # first and last; equal for a single value


def parse_span(field: Field, text: str) -> Span:
    """Return the values that a text stands for in a field. Raises ValueError for an invalid text."""
    text = text.strip('"')
    if field.kind is Kind.MAC:
        return text, text
    if field.kind is Kind.NAME:
        return (text[:-1], text[:-1] + "\U0010ffff") if text.endswith("*") else (text, text)
    if text in field.names:
        return field.names[text], field.names[text]
    if "/" in text:
        prefix = parse_prefix(text)
        return prefix.network, prefix.last
    first, dash, last = text.partition("-")
    return _number(first), _number(last if dash else first)


def _number(text: str) -> int:
    if "." in text or ":" in text:
        try:
            return number_of(text)
        except OSError as error:
            raise AddressError(f"{text!r} is not an address") from error
    return int(text, 0)


class Table:
    """The elements of one set or map, for look-ups by a rule's fields. The elements are parsed on first use."""

    def __init__(self, elements: Iterable[tuple[tuple[str, ...], str]]) -> None:
        self._elements = list(elements)
        self._parsed: dict[tuple[str, ...], tuple[dict[tuple[Value, ...], str], list[tuple[tuple[Span, ...], str]]]] = {}

    def add(self, items: Sequence[str], value: str) -> None:
        """Add an element; `value` is that of a map."""
        self._elements.append((tuple(items), value))

    def find(self, fields: Sequence[Field], values: Sequence[Value]) -> str | None:
        """Return the map's value for these fields ("" for a set), or None. Raises ValueError for an unreadable element."""
        words = tuple(field.words for field in fields)
        if words not in self._parsed:
            self._parsed[words] = self._parse(fields)
        single, spans = self._parsed[words]
        found = single.get(tuple(values))
        if found is not None:
            return found
        return next((value for interval, value in spans if _holds(interval, values)), None)

    def _parse(self, fields: Sequence[Field]) -> tuple[dict[tuple[Value, ...], str], list[tuple[tuple[Span, ...], str]]]:
        single: dict[tuple[Value, ...], str] = {}
        spans: list[tuple[tuple[Span, ...], str]] = []
        for items, value in self._elements:
            interval = tuple(parse_span(field, item) for field, item in zip(fields, items, strict=True))
            if all(first == last for first, last in interval):
                single[tuple(first for first, _ in interval)] = value
            else:
                spans.append((interval, value))
        return single, spans


def _holds(interval: Sequence[Span], values: Sequence[Value]) -> bool:
    # Names are only compared with names, numbers with numbers: both ends of a span have the type of its field.
    return all(first <= value <= last for (first, last), value in zip(interval, values, strict=True))  # type: ignore[operator]


def split_element(text: str) -> tuple[tuple[str, ...], str]:
    """Return the key and the value ("" for a set) of an element in `nft list` syntax."""
    key, _, value = text.partition(" : ")
    return tuple(key.strip().split(" . ")), value.strip()
