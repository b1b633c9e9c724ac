"""How results are shown: tables for people, JSON and YAML for programs, plain columns in a pipe."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Output format; json and yaml are stable.",
)


def show_rows(rows: Sequence[Row], columns: Sequence[str], output: str) -> None:
    """Print rows; `columns` chooses and orders what a table shows, json and yaml carry every field."""
    if output == "table":
        print_table(columns, [[cell(row.get(column, "")) for column in columns] for row in rows])
    else:
        show_value([dict(row) for row in rows], output)


def show_record(record: Row, output: str) -> None:
    """Print one record, a field a line as a table."""
    if output == "table":
        width = max((len(name) for name in record), default=0)
        for name, value in record.items():
            click.echo(f"{name:<{width}}  {cell(value)}")
    else:
        show_value(dict(record), output)


def show_value(value: object, output: str) -> None:
    """Print a value as json or yaml."""
    plain = msgspec.to_builtins(value)
    if output == "json":
        click.echo(_escaped(json.dumps(plain, indent=2, ensure_ascii=False)))
    else:
        import yaml

        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        if not text.replace("\n", "").isprintable():  # PyYAML's own idea of it is wider
            text = yaml.safe_dump(plain, sort_keys=False)
        click.echo(text, nl=False)


def _escaped(text: str) -> str:
    """Return JSON in which nothing is left that a terminal must not get, as JSON spells it."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed on a terminal that is wide enough, else aligned columns (rich takes a quarter second to import)."""
    widths = [max(len(text) for text in texts) for texts in zip(columns, *rows, strict=True)]
    frame = 3 * len(columns) + 1
    # Folded cells would tear ids apart, which are there to be copied.
    if sys.stdout.isatty() and sum(widths) + frame <= shutil.get_terminal_size().columns:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(header_style="bold")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*map(escape, row))
        Console(highlight=False).print(table)
        return
    for line in ([column.upper() for column in columns], *rows):
        click.echo("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value) or "-"
    return str(value)
