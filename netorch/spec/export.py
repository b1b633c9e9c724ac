"""Model to text: the canonical YAML of a cloud. `load_cloud` reads it back as the same values."""

from __future__ import annotations

import json
import re

import msgspec

from netorch.model.cloud import Cloud

# Unquoted scalars that YAML 1.1 and 1.2 both read as text. No colons: 12:30 is a number in YAML 1.1.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*\Z|[0-9]+(\.[0-9]+){3}(/[0-9]+)?\Z")
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


def to_yaml(cloud: Cloud) -> str:
    """Return a cloud as YAML in declaration order, without fields that have their default value."""
    values = msgspec.to_builtins(cloud)
    return "\n".join(_mapping(values, "")) + "\n" if values else "{}\n"


def _mapping(values: dict[str, object], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in values.items():
        name = f"{indent}{_scalar(key)}:"
        if isinstance(value, dict) and value:
            lines += [name, *_mapping(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(name)
            for item in value:
                first, *rest = _mapping(item, indent + "    ")
                lines += [f"{indent}  - {first.lstrip()}", *rest]
        elif isinstance(value, list):
            lines.append(f"{name} [{', '.join(map(_scalar, value))}]")
        else:
            lines.append(f"{name} {_scalar(value)}")
    return lines


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char == "\n":
        return "\\n"
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
