"""Output formats: tables for people; JSON, YAML, CSV and bare names for programs; plain columns in a pipe."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import click
import msgspec

from netorch.errors import printable

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]

_GAP: Final = 2  # between two columns without a frame
_LEAST: Final = 3  # minimum width of a shortened column, in cells
_CUT: Final = "…"
_NOTHING: Final[tuple[object, ...]] = (None, "", [], (), {})  # an empty field of CSV, a dash in a table
MACHINE: Final = ("json", "yaml")

output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Output format; json and yaml are stable.",
)
list_output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "name", "csv", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Output format; wide adds columns, name is what other commands take, json and yaml are stable.",
)


class Columns(NamedTuple):
    """The columns of a list."""

    usual: tuple[str, ...]
    wide: tuple[str, ...]  # added by `-o wide` and `-o csv`


def show_rows(rows: Sequence[Row], columns: Columns | Sequence[str], output: str) -> None:
    """Print rows. `columns` selects and orders the columns of a table; json and yaml have every field."""
    if not isinstance(columns, Columns):
        columns = Columns(tuple(columns), ())
    if output in MACHINE:
        show_value([dict(row) for row in rows], output)
    elif output == "name":
        for row in rows:
            click.echo(printable(spoken(row)))
    elif output == "csv":
        _print_csv(rows, [*columns.usual, *columns.wide])
    else:
        chosen = [*columns.usual, *(columns.wide if output == "wide" else ())]
        print_table(chosen, [[cell(row.get(column, "")) for column in chosen] for row in rows])


def spoken(row: Row) -> str:
    """Return the command-line name of a row's resource: its path, or its id if it has no name."""
    if not row.get("name"):
        return str(row.get("id") or row.get("address", ""))
    scope = row.get("vpc") or row.get("owner")
    return f"{scope}/{row['name']}" if scope else str(row["name"])


def _print_csv(rows: Sequence[Row], columns: Sequence[str]) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if row.get(column) in _NOTHING else cell(row[column]) for column in columns] for row in rows])
    click.echo(text.getvalue(), nl=False)


def show_record(record: Row, output: str) -> None:
    """Print one record; a table has one field per line."""
    if output == "table":
        width = max((len(name) for name in record), default=0)
        for name, value in record.items():
            click.echo(f"{name:<{width}}  {cell(value)}")
    else:
        show_value(dict(record), output)


def show_records(records: Sequence[Row], output: str) -> None:
    """Print records: one by itself, several below each other; in json and yaml several are a list."""
    if output in MACHINE and len(records) > 1:
        show_value([dict(record) for record in records], output)
        return
    for index, record in enumerate(records):
        if index:
            click.echo()
        show_record(record, output)


def show_value(value: object, output: str) -> None:
    """Print a value as json or yaml."""
    plain = msgspec.to_builtins(value)
    if output == "json":
        click.echo(_escaped(json.dumps(plain, indent=2, ensure_ascii=False)))
    else:
        import yaml

        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        if not text.replace("\n", "").isprintable():  # PyYAML accepts more characters as printable
            text = yaml.safe_dump(plain, sort_keys=False)
        click.echo(text, nl=False)


def _escaped(text: str) -> str:
    """Return JSON with all characters escaped that must not reach a terminal. json.dumps escapes only up to U+001F."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else _as_json(char) for char in text)


def _as_json(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed on a wide terminal, with shortened cells on a narrow one, complete in a pipe."""
    table = [[printable(text) for text in row] for row in rows]
    needed = [max(map(_width, texts), default=0) for texts in zip(*table, strict=True)] or [0] * len(columns)
    widths = [max(len(column), width) for column, width in zip(columns, needed, strict=True)]
    if not sys.stdout.isatty():
        _print_plain(columns, table, widths)
        return
    room = shutil.get_terminal_size().columns
    if sum(widths) + 3 * len(columns) + 1 <= room and sys.stdout.encoding.lower().startswith("utf"):
        _print_framed(columns, table)
        return
    while len(widths) > 1 and (_LEAST + _GAP) * len(widths) - _GAP > room:
        widths.pop()  # the last columns are the least important
    _print_plain(columns, table, _shrunk(widths, needed, room - _GAP * (len(widths) - 1)))


def _print_framed(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SQUARE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SQUARE, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # in a plain string rich would replace :ab: by an emoji and [red] by a colour
    Console(highlight=False).print(table)


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    for line in ([column.upper() for column in columns], *rows):
        click.echo((" " * _GAP).join(map(_fit, line, widths)).rstrip())


def _shrunk(widths: Sequence[int], needed: Sequence[int], room: int) -> list[int]:
    """Return widths that fit: first cut heads to the width of their cells, then the widest cells. Short columns stay whole."""
    fitted = list(widths)
    for limit in range(max(widths), _LEAST, -1):
        fitted = [max(min(width, limit), least) for width, least in zip(widths, needed, strict=False)]
        if sum(fitted) <= room:
            return fitted
    for limit in range(max(fitted), _LEAST - 1, -1):
        cut = [min(width, limit) for width in fitted]
        if sum(cut) <= room:
            return cut
    return [_LEAST] * len(widths)


def _width(text: str) -> int:
    """Return the width of a text in terminal cells."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _fit(text: str, width: int) -> str:
    """Return a text padded or cut to a width in cells."""
    taken = _width(text)
    if taken > width:
        while taken > width - 1:
            taken -= _cells(text[-1])
            text = text[:-1]
        text, taken = text + _CUT, taken + 1
    return text + " " * (width - taken)


def cell(value: object) -> str:
    """Return the text of a value in a table."""
    if value in _NOTHING:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, msgspec.Struct):
        told = ((field, cell(each)) for field, each in msgspec.structs.asdict(value).items() if each)
        return " ".join(f"{field}={text}" for field, text in told) or "-"
    if isinstance(value, dict):
        return " ".join(f"{printable(key)}={printable(str(item))}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(printable(str(item)) for item in value)
    return printable(str(value))
