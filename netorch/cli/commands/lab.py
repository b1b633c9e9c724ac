"""`netorch lab`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from netorch.cli.output import output_option, show_rows


def complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the labs whose names begin so."""
    from netorch import lab

    return [found.name for found in lab.list_labs() if found.name.startswith(incomplete)]


def _complete_node(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from netorch import lab

    return [node for node in lab.node_names(context.params.get("name")) if node.startswith(incomplete)]


def _topology_file(file: Path | None) -> Path:
    """Return the topology file that was named, or the only one of the directory that was named or is the current one."""
    from netorch.lab.containerlab.file import find_file

    place = Path() if file is None else file
    return find_file(place) if place.is_dir() else place


def _lab_name(name: str | None, file: Path | None) -> str:
    """Return the name of the lab that was named, or whose file was, or whose file is in the current directory."""
    from netorch.lab.containerlab.file import load_topology

    if name is not None and not name.endswith((".yml", ".yaml")):
        return name
    return load_topology(_topology_file(Path(name) if name is not None else file)).name


name_argument = click.argument("name", shell_complete=complete_name)
optional_name = click.argument("name", required=False, shell_complete=complete_name)
node_option = click.option(
    "--node", shell_complete=_complete_node, help="Run it inside this node. Default: where the whole lab is visible."
)
file_option = click.option(
    "-t", "--topo", "file", type=click.Path(path_type=Path), help="The topology file. Default: the one in this directory."
)


@click.group()
def command() -> None:
    """Labs: containerlab topologies on this machine, natively or in a throw-away kernel; no root needed."""


@command.command()
@click.argument("topology", required=False, type=click.Path(path_type=Path))
@file_option
def up(topology: Path | None, file: Path | None) -> None:
    """Build a lab from a containerlab file (`up` or `deploy`).

    Starts an agent on every hypervisor and edge.
    """
    from netorch import lab

    found = _topology_file(topology or file)
    built = lab.up(found, progress=lambda step: click.echo(step, err=True))
    for line in lab.ignored_lines(built.ignored):
        click.echo(line, err=True)
    nodes = lab.inspect(built.name)
    show_rows([msgspec.to_builtins(node) for node in nodes], ("node", "role", "underlay", "agent"), "table")
    click.echo(f"\nnext: {next_steps(built.name, found, carries=any(node.agent for node in nodes))}")


def next_steps(name: str, topology: Path, *, carries: bool) -> str:
    """Return what to type after a lab has come up; `carries`: there are hosts to apply a file to, the one beside the topology."""
    file = topology.with_name("vpc.yaml")
    apply = f", or netorch --lab {name} apply -f {file if file.exists() else file.name}"
    return f"netorch lab shell {name}{apply if carries else ''}"


@command.command()
@optional_name
@file_option
def down(name: str | None, file: Path | None) -> None:
    """Remove a lab and everything in it (`down` or `destroy`)."""
    from netorch import lab

    found = _lab_name(name, file)
    lab.down(found)
    click.echo(f"lab {found} is removed")


command.add_command(up, "deploy")
command.add_command(down, "destroy")


@command.command("list")
@output_option
def list_(output: str) -> None:
    """List running labs."""
    from netorch import lab

    show_rows([msgspec.to_builtins(found) for found in lab.list_labs()], ("name", "way", "running", "nodes", "file"), output)


@command.command()
@optional_name
@file_option
@output_option
def inspect(name: str | None, file: Path | None, output: str) -> None:
    """Show a lab's nodes."""
    from netorch import lab

    rows = [msgspec.to_builtins(row) for row in lab.inspect(_lab_name(name, file))]
    show_rows(rows, ("node", "role", "underlay", "agent", "links"), output)


@command.command("exec", context_settings={"ignore_unknown_options": True})
@node_option
@name_argument
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(context: click.Context, node: str | None, name: str, argv: tuple[str, ...]) -> None:
    """Run a command in a lab.

    Example: netorch lab exec --node hv1 quickstart -- ip route
    """
    from netorch import lab

    context.exit(lab.exec_in(name, node, list(argv)))


@command.command()
@node_option
@name_argument
@click.pass_context
def shell(context: click.Context, node: str | None, name: str) -> None:
    """Open a shell in a lab."""
    from netorch import lab

    context.exit(lab.shell(name, node))


@command.command("restart-agent")
@name_argument
@click.argument("host")
@click.pass_context
def restart_agent(context: click.Context, name: str, host: str) -> None:
    """Start a host's agent again.

    Use it after the agent has ended, e.g. by kill -9.
    """
    from netorch import lab

    context.exit(lab.restart_agent(name, host))
