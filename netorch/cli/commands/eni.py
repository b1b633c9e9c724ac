"""`netorch eni`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, group_option, source_dest_option, tag_option
from netorch.cli.nouns import Actions, Noun, add_common, resources_argument
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.views.describe import InterfaceInfo

COLUMNS = Columns(
    ("name", "vpc", "address", "ipv6_address", "instance", "host", "state"),
    ("public_address", "subnet", "mac", "security_groups", "source_dest_check", "tags", "id"),
)
STATES = ("available", "pending", "attached", "outgoing", "failed")  # of model.eni, which is not imported to read a command line


@click.group()
def command() -> None:
    """Elastic network interfaces: each holds addresses and a MAC."""


def row(info: InterfaceInfo) -> dict[str, Any]:
    """Return an interface as it is shown."""
    mapping = info.mapping.record if info.mapping is not None else None
    return {
        **msgspec.structs.asdict(info.eni),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "subnet_name": info.subnet.name,
        "security_groups": list(info.groups),
        "public_address": info.public.address if info.public is not None else "",
        "association": info.public.association if info.public is not None else "",
        "host": mapping.host if mapping is not None else "",
        "state": info.status.state.value if info.status is not None else ("pending" if mapping is not None else "available"),
        "reason": info.status.reason if info.status is not None else "",
    }


def _actions() -> Actions:
    from netorch.control.actions.enis import delete_network_interface
    from netorch.control.views.describe import interface_info, interfaces_of

    return Actions(interfaces_of, interface_info, delete_network_interface)


NOUN = Noun("eni", "network interface", COLUMNS, row, _actions, filters={"host": (), "state": STATES})
add_common(command, NOUN, "Delete an interface that is not attached.")


@command.command()
@click.option("--subnet", required=True, shell_complete=complete("subnet"))
@click.option("--name", default="")
@click.option("--address", default="", help="Default: the next free one.")
@click.option("--ipv6-address", default="")
@click.option("--mac", default="")
@group_option
@tag_option
@output_option
@action
def create(
    session: Session,
    subnet: str,
    name: str,
    address: str,
    ipv6_address: str,
    mac: str,
    groups: tuple[str, ...],
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a network interface that is not attached."""
    from netorch.control.actions.enis import create_network_interface

    subnet_id = session.id_of("subnet", subnet)
    eni = create_network_interface(
        session.store,
        session.caller,
        subnet_id,
        name=name,
        address=address,
        ipv6_address=ipv6_address,
        mac=mac,
        groups=[session.id_beside("sg", group, subnet_id) for group in groups],
        tags=tags,
    )
    NOUN.show(session, eni.id, output)


@command.command()
@click.argument("eni", shell_complete=complete("eni"))
@click.argument("instance", shell_complete=complete("i"))
@action
def attach(session: Session, eni: str, instance: str) -> None:
    """Attach an interface to an instance, on the instance's host."""
    from netorch.control.actions.enis import attach_network_interface

    attach_network_interface(session.store, session.caller, session.id_of("eni", eni), session.id_of("i", instance))
    click.echo(f"attached {eni} to {instance}")


@command.command()
@resources_argument("eni", "network interface")
@action
def detach(session: Session, resources: tuple[str, ...]) -> None:
    """Detach interfaces from their instances."""
    from netorch.control.actions.enis import detach_network_interface

    for eni_id in session.ids_of("eni", resources):
        detach_network_interface(session.store, session.caller, eni_id)
        click.echo(f"detached {eni_id}")


@command.command("set-groups")
@click.argument("eni", shell_complete=complete("eni"))
@click.argument("groups", nargs=-1, required=True, shell_complete=complete("sg"))
@action
def set_groups(session: Session, eni: str, groups: tuple[str, ...]) -> None:
    """Set the security groups of an interface."""
    from netorch.control.actions.memberships import modify_interface_groups

    found = session.find("eni", eni)[1]
    ids = [session.id_beside("sg", group, found.id) for group in groups]
    changed = modify_interface_groups(session.store, session.caller, found.id, ids)
    click.echo(f"{changed.id} is in {' '.join(changed.groups)}")


@command.command()
@resources_argument("eni", "network interface")
@source_dest_option(required=True)
@action
def modify(session: Session, resources: tuple[str, ...], source_dest_check: bool) -> None:
    """Switch the source/destination check of interfaces on or off.

    With the check off, an interface may forward packets of others, as a firewall or router does.
    """
    from netorch.control.actions.enis import modify_network_interface

    for eni_id in session.ids_of("eni", resources):
        modify_network_interface(session.store, session.caller, eni_id, source_dest_check=source_dest_check)
        click.echo(f"{eni_id}: the source/destination check is {'on' if source_dest_check else 'off'}")
