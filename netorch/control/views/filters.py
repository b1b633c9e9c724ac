"""EC2's filters: a list keeps the rows that match all filters; a filter matches if one of its values matches.

A filter is `name=value,value`. Its name is a field of the rows, as in JSON output, or `tag:KEY`, or `tag-key`.
`available-addresses` is the same as `available_addresses`, and `ingress.peer` is a field of the entries of `ingress`. In a
value, `*` stands for any text and `?` for one character. A backslash before one of these, a comma or a backslash makes that
character literal. Values are case-sensitive. A boolean is `true` or `false`, as in JSON output, or `yes` or `no`, as in tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from netorch.records.errors import invalid

Row = Mapping[str, Any]
R = TypeVar("R", bound=Row)

TAG: Final = "tag:"
TAG_KEY: Final = "tag-key"
_TOKEN: Final = re.compile(r"\\(.)|(.)", re.DOTALL)
_WILD: Final = {"*": ".*", "?": "."}


class Filter(msgspec.Struct, frozen=True):
    """A name, and a pattern that must match a whole text."""

    name: str
    pattern: re.Pattern[str]

    def matches(self, row: Row) -> bool:
        """Return whether a text of a row under the name matches one of the values."""
        return any(self.pattern.fullmatch(text) for text in _texts_of(row, self.name))


def parse(text: str, fields: Collection[str]) -> Filter:
    """Parse a filter for rows with these fields. Raises ApiError: InvalidParameterValue."""
    name, equals, values = text.partition("=")
    where = f"filter {text!r}"
    if not equals:
        raise invalid(where, "has no value", "write name=value, e.g. tag:env=prod or name=web*")
    known = name.replace("-", "_")
    if not name.startswith(TAG) and name != TAG_KEY:
        if known.partition(".")[0] not in fields:
            names = ", ".join(field.replace("_", "-") for field in sorted(fields))
            raise invalid(where, f"there is no filter {name!r}", f"choose one of {TAG}KEY, {TAG_KEY}, {names}")
        name = known
    return Filter(name, _pattern(values))


def matching(rows: Iterable[R], filters: Sequence[Filter]) -> list[R]:
    """Return the rows that match all filters."""
    return [row for row in rows if all(each.matches(row) for each in filters)]


def _pattern(values: str) -> re.Pattern[str]:
    """Return a pattern that matches one of several values separated by commas."""
    parts = ("|" if char == "," else _WILD.get(char) or re.escape(escaped or char) for escaped, char in _TOKEN.findall(values))
    return re.compile("".join(parts), re.DOTALL)


def _texts_of(row: Row, name: str) -> Iterator[str]:
    tags: Mapping[str, str] = row.get("tags") or {}
    if name == TAG_KEY:
        yield from tags
    elif name.startswith(TAG):
        if (key := name.removeprefix(TAG)) in tags:
            yield tags[key]
    else:
        field, _, below = name.partition(".")
        yield from _texts(row.get(field), below)


def _texts(value: Any, below: str) -> Iterator[str]:  # noqa: ANN401 - whatever a row holds
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, below)
    elif isinstance(value, Mapping):
        if below in value:
            yield from _texts(value[below], "")
    elif isinstance(value, bool):
        yield from ("true", "yes") if value else ("false", "no")
    else:
        yield "" if value is None else str(value)
