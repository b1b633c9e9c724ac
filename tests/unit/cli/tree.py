"""The command tree: what there is to call."""

from __future__ import annotations

from collections.abc import Iterator

import click

from netorch.cli.main import cli
from netorch.cli.words import COMMANDS


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its words; an alias is another command."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from _below(name, command)


def _below(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from _below(f"{words} {name}", sub)
    else:
        yield words, command
