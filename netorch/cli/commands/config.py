"""`netorch config`."""

from __future__ import annotations

import click

from netorch.cli.output import output_option, show_rows
from netorch.cli.settings import SETTINGS, machine


@click.group()
def command() -> None:
    """The settings of this machine: /etc/netorch/netorch.toml; NETORCH_* variables override it, options override both.

    NETORCH_CONFIG names another file.
    """


@command.command()
@output_option
@click.pass_context
def show(context: click.Context, output: str) -> None:
    """Show each setting, its source, and the variable that overrides the file."""
    settings = machine()
    rows = []
    for name, setting in SETTINGS.items():
        found = settings.find(name)
        value, origin = found.value, found.origin
        if name == "store" and context.find_root().params["store"] != value:
            value, origin = context.find_root().params["store"], "the option --store"
        rows.append({"setting": name, "value": value, "from": origin, "variable": setting.variable, "help": setting.help})
    show_rows(rows, ("setting", "value", "from", "variable"), output)
