"""`netorch peering`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_delete, add_list, add_show, add_tagging, each_once, resource_argument
from netorch.cli.output import Columns, output_option
from netorch.model.routing.peering import PeeringConnection, PeeringStatus

if TYPE_CHECKING:
    from netorch.control.actions.peerings import PeeringInfo

# The id is in every list: the accepter has no other name for a request.
COLUMNS = Columns(("id", "name", "vpc", "peer", "status", "peer_ranges"), ("requester", "accepter", "edges", "expires", "tags"))


@click.group()
def command() -> None:
    """VPC peering connections: they carry packets between two VPCs whose route tables lead to the connection."""


def row(info: PeeringInfo) -> dict[str, Any]:
    """Return a peering connection as it is shown."""
    connection = info.connection
    is_request = info.status is PeeringStatus.PENDING
    return {
        "id": connection.id,
        "vni": connection.vni,
        "name": connection.name,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "peer": connection.peer.id,
        "status": info.status.value,
        "peer_ranges": list(info.peer_ranges),
        "requester": msgspec.to_builtins(connection.requester),
        "accepter": msgspec.to_builtins(connection.accepter),
        "edges": [seat.host for seat in connection.seats],
        "expires": datetime.fromtimestamp(connection.expires, UTC).isoformat() if is_request else "",
        "tags": connection.tags,
    }


def _actions() -> Actions:
    from netorch.control.actions.peerings import delete_peering, describe_peering, describe_peerings

    return Actions(describe_peerings, describe_peering, delete_peering)


NOUN = Noun("pcx", "peering connection", COLUMNS, row, _actions)


def _rows(session: Session, vpc: str | None, output: str) -> list[dict[str, Any]]:
    """Return connections as a VPC has them; of all VPCs each one once, as its requester has it where the caller sees that."""
    from netorch.model.ids import vni_of

    rows = NOUN.rows(session, vpc, output)
    return rows if vpc is not None else each_once(rows, lambda row: bool(row["name"]) and vni_of(row["id"]) == row["vni"])


add_list(command, "List peering connections.", COLUMNS, _rows, {"status": [status.value for status in PeeringStatus]})
add_show(command, "pcx", "peering connection", "Show peering connections.", NOUN.show_several)
add_tagging(command, "pcx", "peering connection")
add_delete(
    command,
    "pcx",
    "peering connection",
    "Delete active peering connections, or withdraw requests.\n\nRoutes to a deleted connection become black holes.",
    lambda: NOUN.actions().delete,
)


def _mapped(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, str] | None:
    """Return the range and the alias of a text. Raises click.BadParameter."""
    from netorch.model.routing.mapped import read_ranges
    from netorch.model.rules import Violation

    found = read_ranges(text) if text is not None else None
    if isinstance(found, Violation):
        raise click.BadParameter(f"{found.what}; {found.fix}")
    return found


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, help="The VPC that sends the request.", shell_complete=complete("vpc"))
@click.option("--peer", required=True, help="The other VPC. Name another owner's VPC by its id.", shell_complete=complete("vpc"))
@click.option("--map-own", metavar="RANGE=ALIAS", help="A range of this VPC, and its alias in the other VPC.", callback=_mapped)
@click.option("--map-peer", metavar="RANGE=ALIAS", help="A range of the other VPC, and its alias in this VPC.", callback=_mapped)
@tag_option
@output_option
@action
@click.pass_context
def request(
    context: click.Context,
    session: Session,
    name: str,
    vpc: str,
    peer: str,
    map_own: tuple[str, str] | None,
    map_peer: tuple[str, str] | None,
    tags: dict[str, str],
    output: str,
) -> None:
    """Request a peering connection with another VPC.

    Its owner accepts or rejects the request, which expires after seven days. Until then the requesting VPC gets no new range.

    With --map-own and --map-peer both VPCs may have the same ranges: edges translate addresses one to one.

    Exit code 2: the request has failed, because the VPCs' ranges overlap.
    """
    from netorch.control.actions.peerings import request_peering

    if (map_own is None) != (map_peer is None):
        raise click.UsageError("give both --map-own and --map-peer: a mapped connection has a range and an alias of both VPCs")
    ranges = (map_own, map_peer) if map_own is not None and map_peer is not None else None
    vpc_id, peer_id = session.id_of("vpc", vpc), _peer_id(session, peer)
    made = request_peering(session.store, session.caller, vpc_id, peer_id, name=name, ranges=ranges, tags=tags)
    _show(context, session, made, output)


def _show(context: click.Context, session: Session, connection: PeeringConnection, output: str) -> None:
    """Print a connection; exit with status 2 if it has failed."""
    NOUN.show(session, connection.id, output)
    if connection.status is PeeringStatus.FAILED:
        click.echo(f"{connection.id}: failed, because ranges of the two VPCs overlap", err=True)
        context.exit(2)


def _peer_id(session: Session, peer: str) -> str:
    """Return the id of the other VPC, by which alone an owner may name another's. Raises ApiError."""
    from netorch.errors import ApiError
    from netorch.model.ids import is_id

    if is_id(peer, "vpc"):
        return peer
    try:
        return session.id_of("vpc", peer)
    except ApiError as error:
        if session.caller.operator:
            raise
        raise ApiError(error.code, f"{error.message}; name another owner's VPC by its id") from error


@command.command()
@resource_argument("pcx", "peering connection")
@click.option("--name", default="", help="The accepter's name for the connection.")
@output_option
@action
@click.pass_context
def accept(context: click.Context, session: Session, resource: str, name: str, output: str) -> None:
    """Accept a request. The connection becomes active.

    Exit code 2: it has failed, because the VPCs' ranges now overlap.
    """
    from netorch.control.actions.peerings import accept_peering

    found = accept_peering(session.store, session.caller, session.id_of("pcx", resource), name=name)
    _show(context, session, found, output)


@command.command()
@resource_argument("pcx", "peering connection")
@output_option
@action
def reject(session: Session, resource: str, output: str) -> None:
    """Reject a request."""
    from netorch.control.actions.peerings import reject_peering

    found = reject_peering(session.store, session.caller, session.id_of("pcx", resource))
    NOUN.show(session, found.id, output)
