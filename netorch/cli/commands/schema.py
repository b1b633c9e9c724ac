"""`netorch schema`."""

from __future__ import annotations

import click

from netorch.cli.output import show_value


@click.command()
@click.argument("file", type=click.Choice(("vpc.yaml", "expect.yaml")), default="vpc.yaml")
def command(file: str) -> None:
    """Print the JSON Schema of vpc.yaml, or of expect.yaml, which says who reaches whom in a lab.

    In an editor with a YAML language server: `# yaml-language-server: $schema=vpc.schema.json` as the file's first line.
    """
    from netorch.lab import expect
    from netorch.spec import schema

    show_value(schema.json_schema() if file == "vpc.yaml" else expect.json_schema(), "json")
