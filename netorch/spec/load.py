"""vpc.yaml to a Cloud: a fast path for valid files, a slow path for the others.

The fast path (a Rust parser, msgspec, the checks) has no line numbers and stops at the first error, so it can only accept.
The slow path reads every other file again from the text. It decides, and reports all errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Final

import msgspec
import yaml_rs

from netorch.errors import Problem, SpecError
from netorch.model.check.cloud import check_cloud
from netorch.model.check.notes import path_of
from netorch.model.check.outside import KnownHost
from netorch.model.cloud import Cloud
from netorch.spec import jsontree, yamltree
from netorch.spec.node import MAX_DEPTH, Node, walk
from netorch.spec.shape import repair

STDIN: Final = "-"
MAX_BYTES: Final = 64 << 20  # 50,000 VPCs
_LONG_LINE: Final = 4096
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r") | {127})
_CONTROL = re.compile("[" + re.escape(_CONTROLS.decode()) + "]")
_DEEP_LINE = re.compile(r"(?:[-?:][ \t]+){32}")
_DEEP_INDENT: Final = "\n" + " " * 128
# Text that yaml_rs reads differently from the core schema of YAML 1.2, or accepts although it must not. These signs also occur in
# valid text and comments; then the slow path decides.
_FOREIGN: Final = ("<<", "\t", "\x85", "\u2028", "\u2029", "\ufeff")  # merge keys, tabs, and line breaks of YAML 1.1 only
_INDICATORS: Final = ("!", "|", ">", "&")  # tags, block scalars that are empty or in brackets, unusual anchor names
_INDICATOR = re.compile(r"(?:^|[\s\[{,])(?:[!|>]|&(?![\w-]+\s))", re.MULTILINE)
_NUMBER_HINT = re.compile(r"_(?:[0-9]|(?<=[0-9A-F.]_))|0[bBXO]|[-+]0[xo]")
_NUMBER = re.compile(r"(?:^|[\s\[{,])(?:[-+]?(?:_*[0-9][0-9A-Za-z.+-]*_|_+[0-9]|0[bBXO])|[-+]0[xo])")  # e.g. 6_000, 0b1, -0x1
_NUMBER_LENGTH: Final = 64
_ALIAS_LIMITS = yaml_rs.AliasLimits(max_total_replayed_events=yamltree.MAX_ALIASED, max_replay_stack_depth=MAX_DEPTH)


def load_cloud(path: str | Path, text: str | None = None, *, hosts: Mapping[str, KnownHost] | None = None) -> Cloud:
    """Return the cloud that a file declares. If `text` is given, it replaces the file's content and `path` is only its name.

    A name that ends in .json means that the text is JSON. `hosts` are the stored hosts, or None if they are unknown.

    Raises:
      SpecError: the file cannot be read or is invalid; carries every problem.
    Cost: for 2,000 VPCs with 4 subnets each, 6 times json.loads as JSON, 10 times as YAML; ten times that for an invalid file.
    """
    source = str(path)
    data = _read(source) if text is None else _encode(source, text)
    text = _decode(source, data)
    is_json = source.lower().endswith(".json")
    cloud = _quick(data, text, is_json, hosts)
    return _thorough(source, text, is_json, hosts) if cloud is None else cloud


def places_in(source: str) -> Callable[[str], str]:
    """Return a function that shows the place of a field of a valid file: `vpc.yaml:12: $.vpcs[0].name`, or without the line.

    The line is unknown for JSON and for standard input. The first call reads the file again: only errors need the lines.
    """
    lines = cache(partial(_lines, source))
    return lambda path: f"{source}:{line}: {path}" if (line := lines().get(path, 0)) else f"{source}: {path}"


def _lines(source: str) -> dict[str, int]:
    """Return the lines of all fields of a file by path; none if the file cannot be read again."""
    if source == STDIN or source.lower().endswith(".json"):
        return {}
    try:
        node, _ = yamltree.read_yaml(_decode(source, _read(source)))
    except SpecError:
        return {}
    return {path_of(where): found.line for where, found in walk(node)} if node is not None else {}


def read_file(source: str) -> bytes:
    """Return at most MAX_BYTES + 1 bytes of a file. `-` is standard input. Raises SpecError."""
    try:
        with open(0 if source == STDIN else source, "rb", closefd=source != STDIN) as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise _failure(source, f"the file cannot be read: {why}", "check the path and its permissions") from error


def _read(source: str) -> bytes:
    data = read_file(source)
    if len(data) > MAX_BYTES:
        raise _failure(source, f"the file is larger than {MAX_BYTES >> 20} MiB", "split it by VPC and apply the parts")
    return data.removeprefix(b"\xef\xbb\xbf")


def _encode(source: str, text: str) -> bytes:
    try:
        return text.removeprefix("\ufeff").encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise _failure(source, "half of a surrogate pair is here", "remove it", line) from error


def _decode(source: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _failure(source, f"the byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8", line) from error
    if len(data.translate(None, _CONTROLS)) != len(data):
        found = _CONTROL.search(text)
        assert found
        line = text.count("\n", 0, found.start()) + 1
        raise _failure(source, f"the control character 0x{ord(found[0]):02x} is in the text", "remove it", line)
    return text


def _failure(source: str, what: str, fix: str, line: int = 0) -> SpecError:
    return SpecError(source, [Problem(path="$", what=what, fix=fix, line=line)])


def _quick(data: bytes, text: str, is_json: bool, hosts: Mapping[str, KnownHost] | None) -> Cloud | None:
    """Return the cloud of a valid file, else None."""
    try:
        values = jsontree.decode(data) if is_json else _yaml_values(text)
        cloud = msgspec.convert(values, Cloud)
    except msgspec.ValidationError:
        return None
    return None if check_cloud(cloud, hosts) else cloud


def _yaml_values(text: str) -> object | None:
    """Return the values of a YAML 1.2 text, or None if yaml_rs may misread the text.

    yaml_rs is by far the fastest parser (4 times json.loads; a loop over libyaml's events takes 20 times, PyYAML's C loader
    130) and refuses repeated keys. But its grammar differs, and 20,000 levels overflow its recursion: it limits the nesting of
    flow collections, but not that of "- - - ...".
    """
    if _is_suspect(text):
        return None
    if _DEEP_INDENT in text or (_has_long_line(text) and _DEEP_LINE.search(text)):
        return None
    try:
        values: object = yaml_rs.loads(text, parse_datetime=False, alias_limits=_ALIAS_LIMITS)
    except (yaml_rs.YAMLDecodeError, TypeError):  # TypeError: a list or mapping is a key
        return None
    return values


def _is_suspect(text: str) -> bool:
    """Return whether yaml_rs may read a text differently from YAML 1.2. Cost: 10 ms for 1.5 MB of an ordinary file."""
    if any(sign in text for sign in _FOREIGN):
        return True
    if any(sign in text for sign in _INDICATORS) and _INDICATOR.search(text):
        return True
    hints = _NUMBER_HINT.finditer(text)
    return any(_NUMBER.search(text, max(hint.start() - _NUMBER_LENGTH, 0), hint.end()) for hint in hints)


def _has_long_line(text: str) -> bool:
    """Return whether a line is longer than _LONG_LINE. Cost: negligible, because it skips through the text."""
    at = 0
    while at + _LONG_LINE < len(text):
        newline = text.rfind("\n", at, at + _LONG_LINE)
        if newline < 0:
            return True
        at = newline + 1
    return False


def _thorough(source: str, text: str, is_json: bool, hosts: Mapping[str, KnownHost] | None = None) -> Cloud:
    """Return the cloud. Raises SpecError with every problem."""
    node, problems = jsontree.read_json(text) if is_json else yamltree.read_yaml(text)
    if not problems and (node is None or node.value is None):
        raise _failure(source, "the file is empty", "declare a VPC: vpcs: [{name: demo, cidrs: [10.0.0.0/16]}]")
    if node is None:
        raise SpecError(source, problems)
    values, misfits = repair(node, Cloud)
    for found in (misfits, check_cloud(msgspec.convert(values, Cloud), hosts)):
        known = {problem.path for problem in problems}
        problems += [problem for problem in found if known.isdisjoint(_and_parents(problem.path))]
    if problems:
        raise SpecError(source, _located(problems, node))
    return msgspec.convert(values, Cloud)


def _and_parents(path: str) -> list[str]:
    """Return a path and its parents except the root, innermost first."""
    paths = []
    while path and path != "$":
        paths.append(path)
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return paths


def _located(problems: list[Problem], node: Node) -> list[Problem]:
    """Return the problems in file order. Each has the line of its value, or of the nearest existing parent."""
    lines = {path_of(where): found.line for where, found in walk(node)}
    located = []
    for problem in problems:
        line = problem.line or next((lines[path] for path in (*_and_parents(problem.path), "$") if path in lines), 0)
        located.append(msgspec.structs.replace(problem, line=line))
    return sorted(located, key=lambda problem: problem.line)
