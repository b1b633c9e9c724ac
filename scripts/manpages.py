"""Write a man page for each command and its subcommands from the `--help` texts: `python scripts/manpages.py DIRECTORY`.

The same commands give the same bytes: no dates, no host names.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from netorch import __version__
from netorch.cli.main import cli
from netorch.cli.words import COMMANDS


def commands(command: click.Command = cli, name: str = "netorch", parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield the context of each command, groups before their subcommands."""
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            inner = command.get_command(context, word)
            assert inner is not None
            yield from commands(inner, word, context)


def page(top: click.Context) -> str:
    """Return the page of netorch, or of one of its commands with all subcommands, as roff: man(7)."""
    name = page_name(top)
    lines = [f'.TH "{escaped(name.upper())}" 1 "" "netorch {__version__}" "netorch"', ".SH NAME"]
    lines += [f"{escaped(name)} \\- {escaped(summary(top))}", ".SH SYNOPSIS", *synopsis(top)]
    lines += [".SH DESCRIPTION", *paragraphs(top.command.help or summary(top)), ".SH OPTIONS", *options(top)]
    if top.parent is None:
        lines += [".SH COMMANDS", *terms([(each, text) for each, (_, text) in COMMANDS.items()])]
        return "\n".join([*lines, ".SH SEE ALSO", *(f".BR {escaped(f'netorch-{each}')} (1)" for each in COMMANDS)]) + "\n"
    for inner in list(commands(top.command, top.info_name or "", top.parent))[1:]:
        lines += [f'.SH "{escaped(inner.command_path.upper())}"', *synopsis(inner), *paragraphs(inner.command.help or "")]
        lines += options(inner)
    return "\n".join([*lines, ".SH SEE ALSO", ".BR netorch (1)"]) + "\n"


def page_name(top: click.Context) -> str:
    """Return the name of a page, e.g. netorch-vpc."""
    return top.command_path.replace(" ", "-")


def synopsis(context: click.Context) -> Iterator[str]:
    """Yield the usage line of a command."""
    yield from (".PP", f".B {escaped(context.command_path)}", escaped(" ".join(context.command.collect_usage_pieces(context))))


def options(context: click.Context) -> Iterator[str]:
    """Yield a command's options."""
    records = (param.get_help_record(context) for param in context.command.get_params(context))
    yield from terms([record for record in records if record is not None])


def summary(context: click.Context) -> str:
    """Return the summary of a command, in one line."""
    name = context.info_name or ""
    is_first = context.parent is not None and context.parent.parent is None
    if is_first and name in COMMANDS:
        return COMMANDS[name][1].rstrip(".")
    return (context.command.help or "").partition("\n\n")[0].replace("\n", " ").partition(". ")[0].strip().rstrip(".")


def paragraphs(text: str) -> Iterator[str]:
    """Yield a help text as roff; a paragraph that starts with \\b keeps its lines, as in click."""
    for part in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        if part.lstrip().startswith("\b"):
            yield from (".nf", *map(escaped, textwrap.dedent(part.replace("\b", "")).strip("\n").splitlines()), ".fi")
        else:
            yield escaped(" ".join(part.split()))


def terms(rows: list[tuple[str, str]]) -> Iterator[str]:
    """Yield terms and their meanings."""
    for term, meaning in rows:
        yield from (".TP", f".B {escaped(term)}", escaped(" ".join(meaning.split())) or "\\&")


def escaped(text: str) -> str:
    """Return text escaped so that roff reads no requests or escapes in it."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def write(directory: Path) -> None:
    """Write all pages into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for context in commands():
        if context.parent is None or context.parent.parent is None:
            (directory / f"{page_name(context)}.1").write_text(page(context), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
