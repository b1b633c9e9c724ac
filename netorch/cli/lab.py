"""`netorch lab`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from netorch.cli.output import output_option, show_rows


@click.group()
def command() -> None:
    """Labs: containerlab topologies on this machine, natively or in a throw-away kernel; no root needed."""


@command.command()
@click.argument("topology", type=click.Path(path_type=Path))
def up(topology: Path) -> None:
    """Build a lab from a containerlab file.

    Starts an agent on every hypervisor and edge.
    """
    from netorch import lab

    built = lab.up(topology)
    show_rows([msgspec.to_builtins(row) for row in lab.inspect(built.name)], ("node", "role", "underlay", "agent"), "table")
    click.echo(f"\nnext: netorch lab shell {built.name}, or netorch --lab {built.name} apply -f vpc.yaml")


@command.command()
@click.argument("name")
def down(name: str) -> None:
    """Remove a lab and everything in it."""
    from netorch import lab

    lab.down(name)
    click.echo(f"lab {name} is gone")


@command.command("list")
@output_option
def list_(output: str) -> None:
    """List running labs."""
    from netorch import lab

    show_rows([msgspec.to_builtins(found) for found in lab.list_labs()], ("name", "way", "running", "nodes", "file"), output)


@command.command()
@click.argument("name")
@output_option
def inspect(name: str, output: str) -> None:
    """Show a lab's nodes."""
    from netorch import lab

    show_rows([msgspec.to_builtins(row) for row in lab.inspect(name)], ("node", "role", "underlay", "agent", "links"), output)


@command.command("exec", context_settings={"ignore_unknown_options": True})
@click.option("--node", help="Inside this node; else where all of the lab is visible.")
@click.argument("name")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(context: click.Context, node: str | None, name: str, argv: tuple[str, ...]) -> None:
    """Run a command in a lab.

    Example: netorch lab exec --node hv1 quickstart -- ip route
    """
    from netorch import lab

    context.exit(lab.exec_in(name, node, list(argv)))


@command.command()
@click.option("--node", help="Inside this node; else where all of the lab is visible.")
@click.argument("name")
@click.pass_context
def shell(context: click.Context, node: str | None, name: str) -> None:
    """Open a shell in a lab."""
    from netorch import lab

    context.exit(lab.shell(name, node))


@command.command("restart-agent")
@click.argument("name")
@click.argument("host")
@click.pass_context
def restart_agent(context: click.Context, name: str, host: str) -> None:
    """Start a host's agent that has ended.

    E.g. by kill -9.
    """
    from netorch import lab

    context.exit(lab.restart_agent(name, host))
