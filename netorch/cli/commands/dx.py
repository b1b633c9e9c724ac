"""`netorch dx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common, resource_argument
from netorch.cli.output import Columns, output_option
from netorch.model.outside.direct_connect import MTUS, VLAN_LAST, ConnectionState, HostedConnection, VifState

if TYPE_CHECKING:
    from netorch.control.actions.direct_connect.connections import ConnectionInfo
    from netorch.control.actions.direct_connect.interfaces import VifInfo
    from netorch.model.outside.secrets import Secret

CONNECTION_COLUMNS = Columns(("name", "host", "device", "for", "hosted", "state", "virtual_interfaces"), ("tags",))
VIF_COLUMNS = Columns(
    ("name", "vpc", "connection", "vlan", "state", "asn", "address", "peer", "bgp"),
    (
        "outer_vlan",
        "mtu",
        "bfd",
        "authentication",
        "routes",
        "carrier",
        "bgp_reason",
        "accepted",
        "gateway",
        "edge",
        "tags",
        "id",
    ),
)


@click.group()
def command() -> None:
    """Direct Connect: a customer's router on a port of an edge, with VLANs into VPCs."""


@command.group("connection")
def connections() -> None:
    """Connections: ports of edges. The operator creates them, and decides who may use which VLAN."""


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


def _connection_actions() -> Actions:
    from netorch.control.actions.direct_connect.connections import delete_connection, describe_connection, describe_connections

    return Actions(describe_connections, describe_connection, delete_connection)


CONNECTION = Noun(
    "dxcon",
    "connection",
    CONNECTION_COLUMNS,
    connection_row,
    _connection_actions,
    filters={"state": [state.value for state in ConnectionState]},
    within_vpcs=False,
)
add_common(connections, CONNECTION, "Delete connections without virtual interfaces.")
_vlan = click.argument("vlan", type=click.IntRange(1, VLAN_LAST))
_outer_vlan = click.option("--outer-vlan", type=click.IntRange(0, VLAN_LAST), default=0, help="The outer tag (802.1ad); 0: none.")


@connections.command("create")
@click.argument("name")
@click.option("--host", required=True, help="The edge.", shell_complete=complete("host"))
@click.option("--device", required=True, help="The port's network device; the edge takes it over.")
@click.option(
    "--for", "owner", default="", metavar="OWNER", help="The owner who may use every VLAN that is not hosted. Default: none."
)
@tag_option
@output_option
@action
def create_connection(session: Session, name: str, host: str, device: str, owner: str, tags: dict[str, str], output: str) -> None:
    """Create a connection on a port of an edge.

    The port is wired to a customer's router or to a provider's network.
    """
    from netorch.control.actions.direct_connect import connections as actions

    made = actions.create_connection(session.store, session.caller, name=name, host=host, device=device, owner=owner, tags=tags)
    CONNECTION.show(session, made.name, output)


@connections.command("update")
@resource_argument("dxcon", "connection")
@click.option(
    "--for", "owner", required=True, metavar="OWNER", help="The owner who may use every VLAN that is not hosted; '' for none."
)
@output_option
@action
def update_connection(session: Session, resource: str, owner: str, output: str) -> None:
    """Give a connection to another owner.

    The present owner's virtual interfaces must be deleted first.
    """
    from netorch.control.actions.direct_connect import connections as actions

    actions.update_connection(session.store, session.caller, resource, owner=owner)
    CONNECTION.show(session, resource, output)


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
    """Assign a VLAN to an owner."""
    from netorch.control.actions.direct_connect import connections as actions

    hosted = HostedConnection(owner=owner, vlan=vlan, outer_vlan=outer_vlan)
    actions.add_hosted(session.store, session.caller, resource, hosted)
    CONNECTION.show(session, resource, output)


@hosted_vlans.command("remove")
@resource_argument("dxcon", "connection")
@_vlan
@_outer_vlan
@output_option
@action
def remove_hosted(session: Session, resource: str, vlan: int, outer_vlan: int, output: str) -> None:
    """Withdraw a hosted VLAN that has no virtual interface."""
    from netorch.control.actions.direct_connect import connections as actions

    actions.remove_hosted(session.store, session.caller, resource, vlan, outer_vlan)
    CONNECTION.show(session, resource, output)


@command.group("vif")
def vifs() -> None:
    """Private virtual interfaces: VLANs of connections that end at a VPC's virtual private gateway."""


def vif_row(info: VifInfo) -> dict[str, Any]:
    """Return a virtual interface as it is shown; of a key only whether there is one."""
    vif = msgspec.structs.asdict(info.vif)
    return {
        **{name: value for name, value in vif.items() if name not in ("confirmed", "rejected")},
        "asn": info.vif.asn or None,
        "outer_vlan": info.vif.outer_vlan or None,
        "authentication": info.vif.authentication.value,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "state": info.state.value,
        "gateway_asn": info.gateway_asn,
        **msgspec.structs.asdict(info.said),
    }


def _vif_actions() -> Actions:
    from netorch.control.actions.direct_connect.interfaces import (
        delete_virtual_interface,
        describe_virtual_interface,
        describe_virtual_interfaces,
    )

    return Actions(describe_virtual_interfaces, describe_virtual_interface, delete_virtual_interface)


VIF = Noun(
    "dxvif",
    "virtual interface",
    VIF_COLUMNS,
    vif_row,
    _vif_actions,
    filters={"state": [state.value for state in VifState]},
    operators=("edge", "device"),
)
add_common(vifs, VIF, "Delete virtual interfaces.\n\nTheir routes are withdrawn.")
_key_file = click.option("--key-file", metavar="FILE", help="The BGP key (TCP MD5), 6 to 80 characters; - for standard input.")
_routes = click.option(
    "--route", "routes", multiple=True, metavar="CIDR", help="A static route to the customer's site, instead of BGP; repeatable."
)
_mtus = click.Choice(list(map(str, MTUS)))


@vifs.command("create")
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option("--connection", required=True, shell_complete=complete("dxcon"))
@click.option("--vlan", required=True, type=click.IntRange(1, VLAN_LAST))
@_outer_vlan
@click.option("--asn", type=int, default=0, help="The customer router's AS number. Without it, give --route.")
@click.option("--address", default="", metavar="ADDRESS/LENGTH", help="The edge's address, in a /30 or /31. Default: assigned.")
@click.option("--peer", default="", metavar="ADDRESS", help="The customer router's address. Default: the other one.")
@_key_file
@click.option("--mtu", type=_mtus, default=str(MTUS[0]), show_default=True, help="MTU in bytes.")
@click.option("--bfd", is_flag=True, help="Use BFD to detect a failed router within a second.")
@_routes
@tag_option
@output_option
@action
def create_vif(session: Session, vpc: str, key_file: str | None, mtu: str, output: str, **wanted: Any) -> None:  # noqa: ANN401
    """Create a virtual interface: a VLAN into a VPC.

    The VPC needs a virtual private gateway on the connection's edge. If the operator creates an interface in another
    owner's VPC, that owner must confirm it. Static routes instead of BGP are netorch's own; Direct Connect has none.
    """
    from netorch.control.actions.direct_connect.interfaces import create_virtual_interface
    from netorch.control.actions.direct_connect.making import Wanted

    asked = Wanted(**wanted, mtu=int(mtu), secret=_secret(key_file))
    made = create_virtual_interface(session.store, session.caller, session.id_of("vpc", vpc), asked)
    VIF.show(session, made.id, output)


def _secret(key_file: str | None) -> Secret | None:
    """Return the key that stands in a file. Raises SpecError."""
    from netorch.control.apply.base.key_files import secret_of
    from netorch.spec.load import read_file

    return secret_of(read_file(key_file)) if key_file is not None else None


@vifs.command("modify")
@resource_argument("dxvif", "virtual interface")
@click.option("--mtu", type=_mtus, help="MTU in bytes.")
@_key_file
@_routes
@output_option
@action
@click.pass_context
def modify_vif(
    context: click.Context,
    session: Session,
    resource: str,
    mtu: str | None,
    key_file: str | None,
    routes: tuple[str, ...],
    output: str,
) -> None:
    """Change the MTU, BGP key or routes of an interface.

    New static routes replace all existing ones.
    """
    from netorch.control.actions.direct_connect.interfaces import modify_virtual_interface

    if not mtu and key_file is None and not routes:
        raise click.UsageError("give an MTU, a key or routes", context)
    vif_id = session.id_of("dxvif", resource)
    modify_virtual_interface(
        session.store,
        session.caller,
        vif_id,
        mtu=int(mtu) if mtu else None,
        routes=routes or None,
        secret=_secret(key_file),
    )
    VIF.show(session, vif_id, output)


@vifs.command()
@resource_argument("dxvif", "virtual interface")
@output_option
@action
def confirm(session: Session, resource: str, output: str) -> None:
    """Accept a virtual interface that the operator created."""
    from netorch.control.actions.direct_connect.interfaces import confirm_virtual_interface

    VIF.show(session, confirm_virtual_interface(session.store, session.caller, session.id_of("dxvif", resource)).id, output)


@vifs.command()
@resource_argument("dxvif", "virtual interface")
@output_option
@action
def reject(session: Session, resource: str, output: str) -> None:
    """Refuse a virtual interface that the operator created.

    Its VLAN becomes free. The interface stays in the list until it is deleted.
    """
    from netorch.control.actions.direct_connect.interfaces import reject_virtual_interface

    VIF.show(session, reject_virtual_interface(session.store, session.caller, session.id_of("dxvif", resource)).id, output)
