"""`netorch schema`."""

from __future__ import annotations

import click

from netorch.cli.output import show_value


@click.command()
def command() -> None:
    """Print the JSON Schema of vpc.yaml.

    In an editor with a YAML language server: `# yaml-language-server: $schema=vpc.schema.json` as the file's first line.
    """
    from netorch.spec.schema import json_schema

    show_value(json_schema(), "json")
