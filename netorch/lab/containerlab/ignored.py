"""The fields of a topology file that a lab does not use, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLACE = re.compile(r"\$\.topology\.(nodes|kinds|groups|links|defaults)(?:\.([^.\[]+)|\[(\d+)\])?(?:\.|\[)?(.*)\Z")
_WORD = {"nodes": "node", "kinds": "kind", "groups": "group", "links": "link"}


def ignored_lines(paths: Iterable[str]) -> list[str]:
    """Return a line for all places with the same unused fields, e.g. `not used by a lab: binds, image (node a, node b)`."""
    fields: dict[str, list[str]] = {}
    for path in paths:
        place, field = _split(path)
        fields.setdefault(place, []).append(field)
    places: dict[tuple[str, ...], list[str]] = {}
    for place, found in fields.items():
        places.setdefault(tuple(sorted(found)), []).append(place)
    return [
        f"not used by a lab: {', '.join(found)}" + (f" ({', '.join(filter(None, where))})" if any(where) else "")
        for found, where in places.items()
    ]


def _split(path: str) -> tuple[str, str]:
    """Return the place of a field, and its name there."""
    match = _PLACE.match(path)
    if match is None:
        return "", path.removeprefix("$.")
    section, name, index, field = match.groups()
    if section == "defaults":
        return "defaults", ".".join(filter(None, (name, field)))
    number = str(int(index) + 1) if index else ""
    return f"{_WORD[section]} {name or number}", field
