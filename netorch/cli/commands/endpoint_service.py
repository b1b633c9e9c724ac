"""`netorch endpoint-service`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common, add_list, add_show, add_tagging, each_once, resource_argument
from netorch.cli.output import Columns, output_option
from netorch.model.endpoints.endpoint import EndpointState
from netorch.model.endpoints.endpoint_service import ServicePort, port_text, read_port

if TYPE_CHECKING:
    from netorch.control.actions.endpoints.connections import ConnectionInfo
    from netorch.control.actions.endpoints.offered import ServiceInfo

COLUMNS = Columns(
    ("name", "vpc", "id", "ports", "targets", "principals", "acceptance_required"),
    ("subnets", "connections", "private_dns_name", "proxy_protocol", "ailing_targets", "pair", "edges", "tags"),
)
CONNECTION_COLUMNS = Columns(
    ("id", "endpoint", "owner", "service_name", "state", "address"),
    ("vpc", "service", "eni", "active", "dropped", "ailing_targets", "created", "tags"),
)


@click.group()
def command() -> None:
    """Services that a VPC offers to other VPCs, through interface endpoints. The VPCs' ranges may overlap."""


def parse_port(_context: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[ServicePort, ...]:
    """Return ports out of such texts. Raises click.BadParameter."""
    return tuple(map(_parsed, texts))


def _parsed(text: str) -> ServicePort:
    found = read_port(text)
    if isinstance(found, ServicePort):
        return found
    raise click.BadParameter(f"{found.what}; {found.fix}")


def row(info: ServiceInfo) -> dict[str, Any]:
    """Return a service as it is shown."""
    return {
        **msgspec.structs.asdict(info.service),
        "ports": [port_text(port) for port in info.service.ports],
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "connections": [connection.id for connection in info.connections],
        "pair": info.pair,
        "edges": list(info.edges),
        "ailing_targets": list(info.ailing),
    }


def _actions() -> Actions:
    from netorch.control.actions.endpoints.offered import (
        delete_endpoint_service,
        describe_endpoint_service,
        describe_endpoint_services,
    )

    return Actions(describe_endpoint_services, describe_endpoint_service, delete_endpoint_service)


NOUN = Noun("vpce-svc", "endpoint service", COLUMNS, row, _actions, operators=("pair", "edges"))
add_common(command, NOUN, "Delete services without connections.\n\nRejected connections are deleted with the service.")

_port_help = "PROTOCOL/PORT, or PROTOCOL/PORT:PORT-OF-TARGETS, e.g. tcp/443:8443; repeatable."
_target_help = "An instance or interface that serves; repeatable. Each connection goes to one of them."
_proxy_protocol_help = "Whether TCP targets get the client's address and the endpoint by PROXY protocol, version 2."
_principal_help = "An owner who may use the service, or '*' for all; repeatable."


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option(
    "--subnet",
    "subnets",
    required=True,
    multiple=True,
    help="A subnet in which each connection gets an address; repeatable.",
    shell_complete=complete("subnet"),
)
@click.option("--port", "ports", required=True, multiple=True, callback=parse_port, help=_port_help)
@click.option("--target", "targets", multiple=True, help=_target_help, shell_complete=complete("i"))
@click.option("--principal", "principals", multiple=True, help=_principal_help)
@click.option("--acceptance-required/--no-acceptance-required", default=True, help="Whether you must accept each connection.")
@click.option("--private-dns-name", default="", help="A private DNS name that consumers may resolve to their endpoints.")
@click.option("--proxy-protocol/--no-proxy-protocol", default=False, help=_proxy_protocol_help)
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    vpc: str,
    subnets: tuple[str, ...],
    ports: tuple[ServicePort, ...],
    targets: tuple[str, ...],
    principals: tuple[str, ...],
    acceptance_required: bool,
    private_dns_name: str,
    proxy_protocol: bool,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a service.

    VPCs of the same owner may use it at once. Other owners may use it if they are principals; they need its id.
    """
    from netorch.control.actions.endpoints.offered import create_endpoint_service

    made = create_endpoint_service(
        session.store,
        session.caller,
        session.id_of("vpc", vpc),
        name=name,
        subnets=session.ids_of("subnet", subnets),
        ports=ports,
        targets=_target_ids(session, targets),
        acceptance_required=acceptance_required,
        principals=principals,
        private_dns_name=private_dns_name,
        proxy_protocol=proxy_protocol,
        tags=tags,
    )
    NOUN.show(session, made.id, output)


def _target_ids(session: Session, targets: tuple[str, ...]) -> list[str]:
    """Return the ids of instances, which may be named, and of interfaces, which have their ids here."""
    from netorch.model.ids import is_id

    return [target if is_id(target, "eni") else session.id_of("i", target) for target in targets]


@command.command()
@resource_argument("vpce-svc", "endpoint service")
@click.option("--port", "ports", multiple=True, callback=parse_port, help=f"{_port_help} Replaces all existing ones.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    help=f"{_target_help} Replaces all existing ones.",
    shell_complete=complete("i"),
)
@click.option("--acceptance-required/--no-acceptance-required", default=None, help="Whether you must accept each connection.")
@click.option("--proxy-protocol/--no-proxy-protocol", default=None, help=_proxy_protocol_help)
@click.option("--add-principal", "more", multiple=True, help=_principal_help)
@click.option("--remove-principal", "less", multiple=True, help="An owner who may no longer request connections; repeatable.")
@output_option
@action
def modify(
    session: Session,
    resource: str,
    ports: tuple[ServicePort, ...],
    targets: tuple[str, ...],
    acceptance_required: bool | None,
    proxy_protocol: bool | None,
    more: tuple[str, ...],
    less: tuple[str, ...],
    output: str,
) -> None:
    """Change a service.

    Existing connections stay. A change of --proxy-protocol ends TCP connections; clients must connect again.
    """
    from netorch.control.actions.endpoints.offered import modify_endpoint_service

    changed = modify_endpoint_service(
        session.store,
        session.caller,
        session.id_of("vpce-svc", resource),
        acceptance_required=acceptance_required,
        proxy_protocol=proxy_protocol,
        add_principals=more,
        remove_principals=less,
        targets=_target_ids(session, targets) if targets else None,
        ports=ports or None,
    )
    NOUN.show(session, changed.id, output)


@command.group("connection")
def connections() -> None:
    """Connections of interface endpoints with services. The provider accepts or rejects them."""


def connection_row(info: ConnectionInfo) -> dict[str, Any]:
    """Return a connection as it is shown: to the consumer without what is of the provider's VPC."""
    found = msgspec.structs.asdict(info.connection)
    use = {"active": info.use.active, "dropped": info.use.dropped, "ailing_targets": list(info.use.ailing)}
    if info.connection.vni == info.connection.consumer:
        found |= {"eni": "", "address": ""}
        use["ailing_targets"] = []
    return {
        **found,
        **use,
        "name": info.name,
        "state": info.connection.state.value,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "service_name": info.service_name,
    }


def _connection_actions() -> Actions:
    from netorch.control.actions.endpoints.connections import delete_connection, describe_connection, describe_connections

    return Actions(describe_connections, describe_connection, delete_connection)


CONNECTION = Noun("vpce-con", "endpoint connection", CONNECTION_COLUMNS, connection_row, _connection_actions)


def _rows(session: Session, vpc: str | None, output: str) -> list[dict[str, Any]]:
    """Return connections as a VPC has them; of all VPCs each one once, as the consumer has it where the caller sees that."""
    from netorch.model.ids import vni_of

    rows = CONNECTION.rows(session, vpc, output)
    return rows if vpc is not None else each_once(rows, lambda row: vni_of(row["endpoint"]) == row["vni"])


add_list(connections, "List connections.", CONNECTION_COLUMNS, _rows, {"state": [state.value for state in EndpointState]})
add_show(connections, "vpce-con", "endpoint connection", "Show connections.", CONNECTION.show_several)
add_tagging(connections, "vpce-con", "endpoint connection")


@connections.command()
@resource_argument("vpce-con", "endpoint connection")
@output_option
@action
def accept(session: Session, resource: str, output: str) -> None:
    """Accept a connection: the endpoint can now reach the service."""
    from netorch.control.actions.endpoints.connections import accept_connection

    found = accept_connection(session.store, session.caller, session.id_of("vpce-con", resource))
    CONNECTION.show(session, found.id, output)


@connections.command()
@resource_argument("vpce-con", "endpoint connection")
@output_option
@action
def reject(session: Session, resource: str, output: str) -> None:
    """Reject a connection, pending or accepted. Its flows end."""
    from netorch.control.actions.endpoints.connections import reject_connection

    found = reject_connection(session.store, session.caller, session.id_of("vpce-con", resource))
    CONNECTION.show(session, found.id, output)
