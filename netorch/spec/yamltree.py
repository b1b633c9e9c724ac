"""YAML to a tree with lines, from libyaml's events. Slow (45 times json.loads), so only for invalid files.

It is stricter than YAML: repeated keys, tags, merge keys, second documents and keys that are not text are problems. It has its
own stack for nesting, because libyaml's composer recurses in C and crashes at 20,000 levels.
"""

from __future__ import annotations

from typing import Final

import msgspec
import yaml

from netorch.errors import Problem
from netorch.model.check.notes import path_of
from netorch.model.rules import shown
from netorch.spec.node import MAX_DEPTH, Node, scalar

MAX_ALIASED: Final = 100_000  # total number of values that aliases may expand to; a "billion laughs" has 10**9

_SYNTAX_FIXES: Final = (
    ("mapping values are not allowed", "put a value that contains ': ' in quotes, and check the indentation"),
    ("cannot start any token", "put a value that begins with such a character in quotes"),
    ("expected ',' or", "close the bracket, and separate its entries by commas"),
    ("could not find expected ':'", "write 'name: value', and check the indentation"),
    ("unexpected end of stream", "close the quotes"),
    ("unknown escape character", "write a backslash twice, or use single quotes"),
)


class _Fatal(Exception):
    """An error that ends reading. Carries the problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.what)


class _Frame(msgspec.Struct):
    """A list or mapping that is still open."""

    node: Node
    step: str | int | None = None
    key: str | None = None
    key_line: int = 0
    keys: int = 0


def read_yaml(text: str, grammar: type[Builder] | None = None) -> tuple[Node | None, list[Problem]]:
    """Return the only document of a text, and its YAML problems. The document is None if the text cannot be read to its end.

    `grammar` is Builder, or a subclass that accepts more.
    """
    builder = (grammar or Builder)()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except _Fatal as fatal:
        return None, [*builder.problems, fatal.problem]
    except yaml.YAMLError as error:
        return None, [*builder.problems, _syntax(error, text)]
    return builder.root, builder.problems


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    """Return libyaml's error, with a fix for the usual mistakes."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(path="$", what=f"this is not YAML: {str(error).splitlines()[0]}", fix="save the file as plain text")
    number = error.problem_mark.line
    lines = text.splitlines()
    line = lines[number] if number < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return Problem(path="$", what="a tab is used for indentation", fix="indent with spaces", line=number + 1)
    said = error.problem or "a syntax error"
    fix = next((fix for words, fix in _SYNTAX_FIXES if words in said), "correct this line, or the one before it")
    if error.context_mark is not None and ("expected ',' or" in said or "end of stream" in said):
        number = error.context_mark.line  # the line of the opening bracket or quote, not the line where libyaml gave up
    what = f"this is not YAML: {error.context + ', ' if error.context else ''}{said}"
    return Problem(path="$", what=what, fix=fix, line=number + 1)


class Builder:
    """Builds the tree from events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self._aliased = 0

    def take(self, event: yaml.Event) -> None:
        """Add one event to the tree."""
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0] and not event.style
            node = Node(value=scalar(event.value) if plain else event.value, line=line, text=event.value if plain else "")
            self._begin(event, node)
            self._place(node, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            node = Node(value={} if isinstance(event, yaml.MappingStartEvent) else [], line=line, repeated=[])
            self._begin(event, node)
            frame = _Frame(node)
            if self._stack and isinstance(self._stack[-1].node.value, dict) and self._stack[-1].key is None:
                raise _Fatal(self._problem("a list or mapping is used as a key", "use plain text as the key", line))
            self._stack.append(frame)
            if len(self._stack) > MAX_DEPTH:
                raise _Fatal(
                    Problem(path="$", what=f"the nesting is deeper than {MAX_DEPTH} levels", fix="a cloud needs 7", line=line)
                )
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            node = self._stack.pop().node
            self._place(node, node.line)
        elif isinstance(event, yaml.AliasEvent):
            self._place(self._alias(event.anchor, line), line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _Fatal(
                    Problem(path="$", what="a second document begins here", fix="keep one document in a file", line=line)
                )

    def _begin(self, event: yaml.NodeEvent, node: Node) -> None:
        if event.anchor:
            self._anchors[event.anchor] = node
        tag = getattr(event, "tag", None)
        if tag:
            shown_tag = tag.replace("tag:yaml.org,2002:", "!!")
            self.problems.append(
                self._problem(f"the tag {shown_tag} is not supported", "remove it, and put text in quotes", node.line)
            )

    def _alias(self, anchor: str | None, line: int) -> Node:
        """Return the node of an alias. The tree shares it."""
        node = self._anchors.get(anchor or "")
        if node is None:
            raise _Fatal(self._problem(f"the alias *{anchor} has no anchor &{anchor} before it", "write the value out", line))
        if any(frame.node is node for frame in self._stack):
            raise _Fatal(self._problem(f"the alias *{anchor} is inside the value it refers to", "write the value out", line))
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            what = f"aliases stand for more than {MAX_ALIASED} values"
            raise _Fatal(self._problem(what, "write the values out", line))
        return node

    def _place(self, node: Node, line: int) -> None:
        """Add a complete value to the innermost open list or mapping."""
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        frame.node.size += node.size
        into = frame.node.value
        if isinstance(into, list):
            into.append(node)
        elif isinstance(into, dict):
            if frame.key is None:
                self._key(frame, node, line)
            else:
                if frame.keys:  # a repeated key: the first value stays; the second is reported
                    frame.keys = 0
                else:
                    into[frame.key] = node if node.line == frame.key_line else msgspec.structs.replace(node, line=frame.key_line)
                frame.key = None

    def _key(self, frame: _Frame, node: Node, line: int) -> None:
        into = frame.node.value
        assert isinstance(into, dict)
        key = node.value
        if not isinstance(key, str):
            text = node.text or "~"
            if isinstance(key, list | dict):
                raise _Fatal(self._problem("an alias to a list or mapping is used as a key", "use plain text as the key", line))
            key = frame.key = text
            self.take_odd_key(text, line)
        elif node.text == "<<":  # quoted, it is text
            self.take_merge_key(line)
        frame.key, frame.key_line = key, line
        if key in into:
            frame.node.repeated.append((key, line))
            frame.keys = 1

    def take_odd_key(self, text: str, line: int) -> None:
        """Report a key that YAML reads as a number, a truth value or null."""
        self.problems.append(self._problem(f"the key {text} is not text", f'put it in quotes: "{text}"', line))

    def take_merge_key(self, line: int) -> None:
        """Refuse a merge key."""
        raise _Fatal(self._problem("the merge key << is not supported", "write the fields out", line))

    def _problem(self, what: str, fix: str, line: int) -> Problem:
        """Return a problem at the current path."""
        where: list[str | int] = []
        for frame in self._stack:
            if isinstance(frame.node.value, list):
                where.append(len(frame.node.value))
            elif frame.key is not None:
                where.append(frame.key)
        return Problem(path=path_of(where), what=what, fix=fix, line=line)


def repeated_keys(node: Node, where: tuple[str | int, ...]) -> list[Problem]:
    """Return a problem for every repeated key of a mapping."""
    return [
        Problem(path=path_of((*where, key)), what=f"the key {shown(key)} occurs twice", fix="remove one of them", line=line)
        for key, line in node.repeated
    ]
