"""`netorch dx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import (
    Delete,
    add_delete,
    add_list,
    add_show,
    add_tagging,
    resource_argument,
)
from netorch.cli.output import Columns, output_option, show_records
from netorch.model.outside.direct_connect import VLAN_LAST, ConnectionState, HostedConnection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorch.control.actions.direct_connect.connections import ConnectionInfo

CONNECTION_COLUMNS = Columns(("name", "host", "device", "for", "hosted", "state", "virtual_interfaces"), ("tags",))


@click.group()
def command() -> None:
    """Direct Connect: a customer's own router on a port of an edge, and VLANs there that lead into VPCs."""


@command.group("connection")
def connections() -> None:
    """Connections: ports of edges. The operator makes them, and says who may use which VLAN."""


def connection_row(info: ConnectionInfo) -> dict[str, Any]:
    """Return a connection as it is shown: `for` is its owner, who is no part of its name."""
    connection = info.connection
    return {
        "name": connection.name,
        "host": connection.host,
        "device": connection.device,
        "for": connection.owner,
        "hosted": [_hosted_text(one) for one in connection.hosted],
        "state": info.state.value,
        "virtual_interfaces": info.virtual_interfaces,
        "tags": connection.tags,
    }


def _hosted_text(hosted: HostedConnection) -> str:
    from netorch.model.outside.vif_rules import vlan_text

    return f"{hosted.owner}:{vlan_text(hosted.vlan, hosted.outer_vlan)}"


def _connection_rows(session: Session, _vpc: str | None, _output: str) -> list[dict[str, Any]]:
    from netorch.control.actions.direct_connect.connections import describe_connections

    return [connection_row(info) for info in describe_connections(session.store, session.caller)]


def _show_connections(session: Session, names: Sequence[str], output: str) -> None:
    from netorch.control.actions.direct_connect.connections import describe_connection

    show_records([connection_row(describe_connection(session.store, session.caller, name)) for name in names], output)


def _delete_connection() -> Delete:
    from netorch.control.actions.direct_connect.connections import delete_connection

    return delete_connection


_states = {"state": [state.value for state in ConnectionState]}
add_list(connections, "List connections.", CONNECTION_COLUMNS, _connection_rows, _states, within_vpcs=False)
add_show(connections, "dxcon", "connection", "Show connections.", _show_connections)
add_tagging(connections, "dxcon", "connection")
add_delete(connections, "dxcon", "connection", "Delete connections without virtual interfaces.", _delete_connection)
_vlan = click.argument("vlan", type=click.IntRange(1, VLAN_LAST))
_outer_vlan = click.option(
    "--outer-vlan", type=click.IntRange(0, VLAN_LAST), default=0, help="The service tag around the VLAN (802.1ad); 0: none."
)


@connections.command("create")
@click.argument("name")
@click.option("--host", required=True, help="The edge.", shell_complete=complete("host"))
@click.option("--device", required=True, help="Its network device, which it takes for itself.")
@click.option("--for", "owner", default="", metavar="OWNER", help="Who may use all VLANs that are not hosted. Default: nobody.")
@tag_option
@output_option
@action
def create_connection(session: Session, name: str, host: str, device: str, owner: str, tags: dict[str, str], output: str) -> None:
    """Create a connection: a port of an edge, to which a customer's router, or a provider's network, is wired."""
    from netorch.control.actions.direct_connect import connections as actions

    made = actions.create_connection(session.store, session.caller, name=name, host=host, device=device, owner=owner, tags=tags)
    _show_connections(session, [made.name], output)


@connections.command("update")
@resource_argument("dxcon", "connection")
@click.option("--for", "owner", required=True, metavar="OWNER", help="Who may use all VLANs that are not hosted; '' for nobody.")
@output_option
@action
def update_connection(session: Session, resource: str, owner: str, output: str) -> None:
    """Give a connection to another owner. Whose virtual interfaces are there keeps their VLANs, so delete these first."""
    from netorch.control.actions.direct_connect import connections as actions

    actions.update_connection(session.store, session.caller, resource, owner=owner)
    _show_connections(session, [resource], output)


@connections.group("hosted")
def hosted_vlans() -> None:
    """VLANs of a connection that other owners may use, one owner each."""


@hosted_vlans.command("add")
@resource_argument("dxcon", "connection")
@click.argument("owner")
@_vlan
@_outer_vlan
@output_option
@action
def add_hosted(session: Session, resource: str, owner: str, vlan: int, outer_vlan: int, output: str) -> None:
    """Let an owner have a virtual interface on a VLAN."""
    from netorch.control.actions.direct_connect import connections as actions

    hosted = HostedConnection(owner=owner, vlan=vlan, outer_vlan=outer_vlan)
    actions.add_hosted(session.store, session.caller, resource, hosted)
    _show_connections(session, [resource], output)


@hosted_vlans.command("remove")
@resource_argument("dxcon", "connection")
@_vlan
@_outer_vlan
@output_option
@action
def remove_hosted(session: Session, resource: str, vlan: int, outer_vlan: int, output: str) -> None:
    """Take a hosted VLAN, on which there is no virtual interface, away."""
    from netorch.control.actions.direct_connect import connections as actions

    actions.remove_hosted(session.store, session.caller, resource, vlan, outer_vlan)
    _show_connections(session, [resource], output)
