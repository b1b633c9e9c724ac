"""`netorch completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from netorch.cli.main import cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell, e.g. `netorch completion bash >> ~/.bashrc`."""
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(cli, {}, "netorch", "_NETORCH_COMPLETE").source())
