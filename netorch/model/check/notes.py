"""The problems that checks collect: paths, cached results of rules, tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from netorch.errors import Problem
from netorch.model import rules
from netorch.model.rules import Violation
from netorch.model.vpc import Tags

Where = tuple[str | int, ...]
Value = TypeVar("Value")


def path_of(where: Iterable[str | int]) -> str:
    """Return e.g. `$.vpcs[0].tags["cost centre"]`."""
    text = "$"
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("-", "_").isidentifier():
            text += f".{step}"
        else:
            text += f'["{repr(step)[1:-1]}"]'
    return text


class Memo(dict[str, Value]):
    """A cache of one rule's results: customers repeat CIDRs, names and tags, and a hit costs 30 ns."""

    def __init__(self, rule: Callable[[str], Value]) -> None:
        self._rule = rule

    def __missing__(self, text: str) -> Value:
        value = self[text] = self._rule(text)
        return value


class Notes:
    """The problems found so far. Paths are built only for problems, because nearly all values are valid."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.names = Memo(rules.name)
        self._tag_keys = Memo(rules.tag_key)
        self._tag_values = Memo(rules.tag_value)

    def add(self, violation: Violation, *where: Where) -> None:
        """Report a violation at the path made of the parts `where`."""
        path = path_of(step for part in where for step in part)
        self.problems.append(Problem(path=path, what=violation.what, fix=violation.fix))

    def tags(self, tags: Tags, where: Where) -> None:
        """Check the tags of the resource at `where`."""
        if len(tags) > rules.MAX_TAGS:
            self.add(Violation(f"there are {len(tags)} tags", f"keep at most {rules.MAX_TAGS}"), where, ("tags",))
        for key, value in tags.items():
            if violation := self._tag_keys[key] or self._tag_values[value]:
                self.add(violation, where, ("tags", key))
