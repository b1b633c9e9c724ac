"""The YAML of containerlab files, less strict than netorch's: nodes may be named by numbers, and `<<` merges mappings.

Source: YAML 1.1's merge key (https://yaml.org/type/merge.html), which go-yaml supports.
"""

from __future__ import annotations

from netorch.errors import Problem
from netorch.spec.node import Node
from netorch.spec.yamltree import Builder, read_yaml

_MERGE = "<<"


class _Grammar(Builder):
    def take_odd_key(self, text: str, line: int) -> None:
        """Keep the key as written."""

    def take_merge_key(self, line: int) -> None:
        """Keep the merge key; `_merge` replaces it later."""


def read_clab(text: str) -> tuple[Node | None, list[Problem]]:
    """Return the only document of a text, with its merge keys replaced, and the problems of its YAML."""
    tree, problems = read_yaml(text, _Grammar)
    if tree is not None:
        _merge(tree, set(), problems)
    return tree, problems


def _merge(node: Node, done: set[int], problems: list[Problem]) -> None:
    """Add to each mapping the fields of the mappings in its merge key. Own fields win, then those of the first mapping."""
    if id(node) in done:  # an alias shares its anchor's node
        return
    done.add(id(node))
    children = list(node.value.values()) if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else []
    for child in children:
        _merge(child, done, problems)
    if not isinstance(node.value, dict) or _MERGE not in node.value:
        return
    merged = node.value.pop(_MERGE)
    for source in merged.value if isinstance(merged.value, list) else [merged]:
        if not isinstance(source.value, dict):
            what, fix = "<< names something that is no mapping", "name the anchor of a mapping: <<: *common"
            problems.append(Problem(path="$", what=what, fix=fix, line=merged.line))
            continue
        node.value = {**source.value, **node.value}
