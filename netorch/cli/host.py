"""`netorch host`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, complete, pass_session, tag_option
from netorch.cli.output import output_option, show_record, show_rows

if TYPE_CHECKING:
    from netorch.control.hosts import HostInfo

COLUMNS = ("name", "role", "underlay", "live", "interfaces")


@click.group()
@pass_session
def command(session: Session) -> None:
    """Hosts: the machines that run an agent."""
    session.operator_only("hosts")


def row(info: HostInfo) -> dict[str, Any]:
    """Return a host as it is shown."""
    return {**msgspec.structs.asdict(info.host), "role": info.host.role.value, "live": info.live, "interfaces": info.interfaces}


@command.command("list")
@output_option
@pass_session
def list_(session: Session, output: str) -> None:
    """List hosts."""
    from netorch.control.hosts import describe_hosts

    show_rows([row(info) for info in describe_hosts(session.inventory().hosts)], COLUMNS, output)


@command.command()
@click.argument("name", shell_complete=complete("host"))
@output_option
@pass_session
def show(session: Session, name: str, output: str) -> None:
    """Show a host."""
    from netorch.control.hosts import describe_host

    show_record(row(describe_host(session.store, session.caller, name)), output)


@command.command()
@click.argument("name")
@click.option("--underlay", required=True, metavar="IP", help="The IPv4 address of its VTEP.")
@click.option("--role", type=click.Choice(["hypervisor", "edge"]), default="hypervisor", show_default=True)
@tag_option
@output_option
@pass_session
def create(session: Session, name: str, underlay: str, role: str, tags: dict[str, str], output: str) -> None:
    """Create a host; then run `netorch agent run --host NAME` on it."""
    from netorch.control.hosts import create_host, describe_host
    from netorch.model.eni import Role

    create_host(session.store, session.caller, name=name, underlay=underlay, role=Role(role), tags=tags)
    show_record(row(describe_host(session.store, session.caller, name)), output)


@command.command()
@click.argument("name", shell_complete=complete("host"))
@pass_session
def delete(session: Session, name: str) -> None:
    """Delete a host that carries nothing."""
    from netorch.control.hosts import delete_host

    delete_host(session.store, session.caller, name)
    click.echo(f"deleted host {name}")
