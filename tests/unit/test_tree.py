"""The tree shows where everything is: folders that a reader can survey, files and functions of one idea."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from netorch.cli.words import COMMANDS

ROOT = Path(__file__).parents[2]
ROOTS = ("netorch", "policy", "edges", "tests", "scripts")
MODULES = 16
FILE_LINES = 400
FUNCTION_LINES = 50

# Folders whose modules are all of one kind, in any number; a test below checks each of their files.
ROWS = {Path("netorch/cli/commands")}

SOURCES = sorted(path.relative_to(ROOT) for root in ROOTS for path in (ROOT / root).rglob("*.py"))


def test_the_whole_tree_is_looked_at() -> None:
    assert len(SOURCES) > 400
    assert {path.parts[0] for path in SOURCES} == set(ROOTS)


def test_a_folder_holds_few_modules_or_is_a_row_of_equals() -> None:
    counts = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MODULES and folder not in ROWS} == {}


def test_each_file_among_the_commands_is_a_command() -> None:
    files = {path.stem for path in SOURCES if path.parent == Path("netorch/cli/commands")} - {"__init__"}
    assert files == {module for module, _ in COMMANDS.values()}
    for name in files:
        assert isinstance(importlib.import_module(f"netorch.cli.commands.{name}").command, click.Command)


def test_files_are_short() -> None:
    found = {str(path): (ROOT / path).read_text().count("\n") for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines > FILE_LINES} == {}


def test_functions_of_the_product_are_short() -> None:
    found = {
        f"{path}:{node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        if path.parts[0] in ("netorch", "policy", "edges")
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: lines for name, lines in found.items() if lines > FUNCTION_LINES} == {}


def spelled(text: str) -> Iterator[str]:
    """Yield the expansions of a text with `{a,b}`."""
    if found := re.search(r"\{([^{}]*)\}", text):
        for one in found[1].split(","):
            yield from spelled(text[: found.start()] + one + text[found.end() :])
    else:
        yield text


def test_files_that_documents_name_are_there() -> None:
    missing = []
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for text in re.findall(r"`([a-z_]+/[\w./{},-]+)(?:::\w+)?`", document.read_text()):
            for path in spelled(text.rstrip("/")):
                named = path.endswith((".py", ".md", ".yaml", ".sh")) or path.startswith(ROOTS)
                if named and not any((base / path).exists() for base in (ROOT, ROOT / "netorch")):
                    missing.append(f"{document.relative_to(ROOT)}: {path}")
    assert missing == []
