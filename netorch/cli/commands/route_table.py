"""`netorch route-table`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.route_tables import RouteTableInfo

COLUMNS = Columns(("name", "vpc", "main", "routes", "subnets"), ("tags", "id"))


@click.group()
def command() -> None:
    """Route tables: each subnet has exactly one in force, the VPC's main one unless it names another."""


def row(info: RouteTableInfo) -> dict[str, Any]:
    """Return a route table as it is shown."""
    return {
        **msgspec.structs.asdict(info.table),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "routes": [f"{route.destination}->{route.target}" for route in info.routes],
        "subnets": list(info.subnets),
    }


def _actions() -> Actions:
    from netorch.control.actions.route_tables import delete_route_table, describe_route_table, describe_route_tables

    return Actions(describe_route_tables, describe_route_table, delete_route_table)


NOUN = Noun("rtb", "route table", COLUMNS, row, _actions)
add_common(command, NOUN, "Delete a route table.\n\nNeither the main one nor one that a subnet names can be deleted.")


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, tags: dict[str, str], output: str) -> None:
    """Create a route table; its local routes are implicit."""
    from netorch.control.actions.route_tables import create_route_table

    table = create_route_table(session.store, session.caller, session.id_of("vpc", vpc), name=name, tags=tags)
    NOUN.show(session, table.id, output)


@command.command()
@click.argument("table", shell_complete=complete("rtb"))
@click.argument("subnets", nargs=-1, required=True, shell_complete=complete("subnet"))
@action
def associate(session: Session, table: str, subnets: tuple[str, ...]) -> None:
    """Put a route table in force for subnets."""
    from netorch.control.actions.subnets import associate_route_table

    tables = {subnet_id: session.id_beside("rtb", table, subnet_id) for subnet_id in session.ids_of("subnet", subnets)}
    for subnet_id, table_id in tables.items():
        changed = associate_route_table(session.store, session.caller, subnet_id, table_id)
        click.echo(f"subnet {changed.name} ({changed.id}) uses {changed.route_table or 'the main table'}")
