"""JSON to values, or to a tree if the text has problems."""

from __future__ import annotations

import json

import msgspec

from netorch.errors import Problem
from netorch.spec.node import Node, walk


def decode(data: bytes) -> object | None:
    """Return the values of a JSON text, or None if it is not JSON or an object has a duplicate key.

    Cost: 1.5 times json.loads. Decoders drop duplicate keys silently. Then the text without its spaces is longer than the
    encoded values. The texts also differ if the input has an unnecessary escape; then only `read_json` can tell.
    """
    try:
        value: object = msgspec.json.decode(data)
        if msgspec.json.format(data, indent=-1) == msgspec.json.encode(value):
            return value
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    node, _ = read_json(data.decode())
    return None if node is None or any(found.repeated for _, found in walk(node)) else value


def read_json(text: str) -> tuple[Node | None, list[Problem]]:
    """Return a JSON text as a tree without lines, and its syntax errors. The tree is None if the text cannot be read."""
    try:
        return _node(json.loads(text, object_pairs_hook=_object, parse_constant=_constant)), []
    except json.JSONDecodeError as error:
        what = f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        return None, [Problem(path="$", what=what, fix="correct this line, or the one before it", line=error.lineno)]
    except RecursionError:
        return None, [Problem(path="$", what="the nesting is too deep", fix="a cloud needs 7 levels")]
    except ValueError as error:
        return None, [Problem(path="$", what=f"this is not JSON: {error}", fix="correct the value")]


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _object(pairs: list[tuple[str, object]]) -> Node:
    """Return a mapping as a node. Of a repeated key, the first value stays."""
    items: dict[str, Node] = {}
    repeated: list[tuple[str, int]] = []
    for key, value in pairs:
        if key in items:
            repeated.append((key, 0))
        else:
            items[key] = _node(value)
    return Node(value=items, repeated=repeated)


def _node(value: object) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, list):
        return Node(value=[_node(item) for item in value])
    if isinstance(value, str):
        return Node(value=value)
    assert value is None or isinstance(value, bool | int | float)
    return Node(value=value, text=json.dumps(value))
