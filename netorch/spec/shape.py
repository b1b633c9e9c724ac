"""The check of fields and types. It finds all errors, where msgspec reports only the first, and runs if msgspec refuses a file.

It also repairs the tree: a placeholder replaces each wrong value, so that the other checks can run, and one run reports all
errors. A placeholder is not valid in any field; problems at its path are not reported again.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from msgspec import inspect

from netorch.errors import Problem
from netorch.model.check.notes import Where, path_of
from netorch.model.rules import shown
from netorch.spec.node import Node
from netorch.spec.yamltree import repeated_keys

EXAMPLES: Final = {
    "action": "allow",
    "address": "198.51.100.21/24",
    "cidr": "10.0.1.0/24",
    "cidrs": "[10.0.0.0/16]",
    "destination": "0.0.0.0/0",
    "device": "eth2",
    "gateway": "198.51.100.254",
    "name": "web",
    "pair": "west",
    "protocol": "tcp",
    "rule": "100",
    "source": "10.0.0.0/8",
    "underlay": "192.0.2.11",
}


def repair(node: Node, type_: type) -> tuple[object, list[Problem]]:
    """Return the values of a tree, repaired for msgspec.convert to `type_`, and their problems."""
    walker = _Walker()
    return walker.fit(node, inspect.type_info(type_), ()), walker.problems


class _Walker:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def fit(self, node: Node, type_: inspect.Type, where: Where) -> object:
        """Return the node's value if it has that type, else report it and return a placeholder."""
        value = node.value
        match type_:
            case inspect.StructType() if isinstance(value, dict):
                return self._struct(node, value, type_, where)
            case inspect.DictType() if isinstance(value, dict):
                self.problems += repeated_keys(node, where)
                return {key: self.fit(item, type_.value_type, (*where, key)) for key, item in value.items()}
            case inspect.ListType() if isinstance(value, list):
                return [self.fit(item, type_.item_type, (*where, index)) for index, item in enumerate(value)]
            case inspect.StrType() if isinstance(value, str):
                return value
            case inspect.IntType() if isinstance(value, int) and not isinstance(value, bool):
                return value
            case inspect.BoolType() if isinstance(value, bool):
                return value
            case inspect.EnumType() if value in [member.value for member in type_.cls]:
                return value
            case inspect.UnionType():
                return None if value is None and type_.includes_none else self.fit(node, _member(type_, value), where)
        what, fix = _mismatch(node, type_)
        self.problems.append(Problem(path=path_of(where), what=what, fix=fix, line=node.line))
        return _placeholder(type_)

    def _struct(self, node: Node, value: dict[str, Node], type_: inspect.StructType, where: Where) -> dict[str, object]:
        self.problems += repeated_keys(node, where)
        fields = {field.encode_name: field for field in type_.fields}
        fitted: dict[str, object] = {}
        for key, item in value.items():
            if key in fields:
                fitted[key] = self.fit(item, fields[key].type, (*where, key))
            else:
                fix = _unknown(key, [name for name in fields if name not in value], list(fields))
                path = path_of((*where, key))
                self.problems.append(Problem(path=path, what=f"there is no field {shown(key)} here", fix=fix, line=item.line))
        for name, field in fields.items():
            if field.required and name not in value:
                fix = f"add it, e.g. {name}: {EXAMPLES[name]}" if name in EXAMPLES else "add it"
                self.problems.append(Problem(path=path_of((*where, name)), what="the field is missing", fix=fix, line=node.line))
                fitted[name] = _placeholder(field.type)
        return fitted


def _member(type_: inspect.UnionType, value: object) -> inspect.Type:
    """Return the union member for a value: the number type for numbers, if the union also has text."""
    members = [member for member in type_.types if not isinstance(member, inspect.NoneType)]
    number = isinstance(value, int) and not isinstance(value, bool)
    return next((member for member in members if isinstance(member, inspect.IntType) == number), members[0])


def _unknown(key: str, free: list[str], known: list[str]) -> str:
    """Return the fix for an unknown field: the most similar field, else all fields."""
    close = get_close_matches(key.lower().replace("-", "_"), free, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"remove it; there are {', '.join(known)}"


def _mismatch(node: Node, type_: inspect.Type) -> tuple[str, str]:
    """Return the error text for a value that does not have that type, and the fix."""
    if node.value is None:
        return "the field has no value", "write one, or remove the field"
    found = _found(node)
    match type_:
        case inspect.StrType():
            quotable = not isinstance(node.value, list | dict)
            return f"{found} where text is needed", f'put it in quotes: "{node.text}"' if quotable else "write text"
        case inspect.IntType():
            digits = isinstance(node.value, str) and node.value.isascii() and node.value.isdigit()
            return f"{found} where a whole number is needed", "remove the quotes" if digits else "write a whole number, e.g. 5000"
        case inspect.BoolType():
            return f"{found} where a truth value is needed", "write true or false"
        case inspect.EnumType():
            choices = [str(member.value) for member in type_.cls]
            close = get_close_matches(str(node.value).lower(), choices, n=1)
            what = f"{found.removeprefix('found ')} is none of {', '.join(choices)}"
            return what, f"did you mean {close[0]}?" if close else "choose one of them"
        case inspect.ListType():
            if isinstance(node.value, str):
                return f"{found} where a list is needed", f"put it in brackets: [{node.value}]"
            return f"{found} where a list is needed", "begin each entry with '- '"
        case inspect.StructType():
            fields = [field.encode_name for field in type_.fields if field.required] or [
                field.encode_name for field in type_.fields
            ]
            return f"{found} where a mapping is needed", f"write its fields: {', '.join(fields)}"
        case _:
            return f"{found} where a mapping is needed", "write 'key: value' pairs"


def _found(node: Node) -> str:
    match node.value:
        case bool():
            return f"found the truth value {node.text}"
        case int() | float():
            return f"found the number {node.text if len(node.text) < 60 else node.text[:57] + '...'}"
        case str():
            return f"found {shown(node.value)}"
        case list():
            return "found a list"
        case _:
            return "found a mapping"


def _placeholder(type_: inspect.Type) -> object:
    """Return a value of that type that is valid in no field. A list gets an entry, so that its names count as incomplete."""
    match type_:
        case inspect.StrType():
            return "\0"
        case inspect.ListType():
            return [_placeholder(type_.item_type)]
        case inspect.EnumType():
            return next(iter(type_.cls)).value
        case inspect.StructType():
            return {field.encode_name: _placeholder(field.type) for field in type_.fields if field.required}
        case inspect.BoolType():
            return False
        case inspect.UnionType():
            return None if type_.includes_none else _placeholder(_member(type_, ""))
        case inspect.DictType():
            return {}
        case _:
            return 0
