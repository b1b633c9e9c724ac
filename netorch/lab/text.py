"""The lab's own files (topology, expectations) from YAML to values: strict, with the line of each problem."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from netorch.errors import Problem, SpecError
from netorch.lab.containerlab.yaml import read_clab
from netorch.lab.variables import expand
from netorch.model.check.notes import path_of
from netorch.spec.node import Node, walk
from netorch.spec.shape import repair
from netorch.spec.yamltree import read_yaml


def parse(path: str | Path, text: str | None = None, environ: Mapping[str, str] | None = None) -> Node:
    """Return the tree of a YAML file, or of `text` if given; `path` is then only its name.

    With `environ` it is containerlab's YAML, in which the variables are expanded.

    Raises:
      SpecError: the file cannot be read, or is no YAML.
    """
    source = str(path)
    if text is None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            problem = Problem(path="$", what=f"the file cannot be read: {why}", fix="check the path")
            raise SpecError(source, [problem]) from error
    tree, problems = read_yaml(text) if environ is None else read_clab(expand(text, environ))
    if problems or tree is None:
        raise SpecError(source, problems or [Problem(path="$", what="the file is empty", fix="see containerlab/quickstart")])
    return tree


def repaired(tree: Node, type_: type) -> tuple[object, dict[str, int], list[Problem]]:
    """Return values that fit `type_`, the line of each path, and the values that did not fit (replaced by placeholders)."""
    values, problems = repair(tree, type_)
    lines = {path_of(where): node.line for where, node in walk(tree)}
    return values, lines, problems
