"""`netorch route-table`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, names_of, tag_option
from netorch.cli.nouns import Actions, Noun, Rules, add_associate, add_common, add_rule_list, resources_argument
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.route_tables import RouteTableInfo
    from netorch.model.vpc import Subnet
    from netorch.records.caller import Caller
    from netorch.store.base import Store

    Associate = Callable[[Store, Caller, str, str], Subnet]

COLUMNS = Columns(("name", "vpc", "main", "routes", "subnets"), ("tags", "id"))
ROUTE_COLUMNS = ("destination", "target", "origin", "state")


@click.group()
def command() -> None:
    """Route tables: a subnet uses the VPC's main one unless another is associated."""


def route_rows(info: RouteTableInfo) -> list[dict[str, Any]]:
    """Return a table's routes as they are shown."""
    return [
        {
            "destination": info.names.get(route.destination, route.destination),
            "prefix_list": route.destination if route.destination.startswith("pl-") else "",
            "target": info.names.get(route.target, route.target),
            "target_id": route.target if "-" in route.target else "",
            "origin": route.origin.value,
            "state": route.state.value,
        }
        for route in info.routes
    ]


def row(info: RouteTableInfo) -> dict[str, Any]:
    """Return a route table as it is shown."""
    return {
        **msgspec.structs.asdict(info.table),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "routes": route_rows(info),
        "subnets": list(info.subnets),
    }


def _actions() -> Actions:
    from netorch.control.actions.route_tables import delete_route_table, describe_route_table, describe_route_tables

    return Actions(describe_route_tables, describe_route_table, delete_route_table)


ROUTES = Rules(ROUTE_COLUMNS, route_rows, counted=("routes",), hidden=("routes",), called="routes")
NOUN = Noun("rtb", "route table", COLUMNS, row, _actions, (ROUTES,))
add_common(command, NOUN, "Delete a route table.\n\nThe main table, and tables with associated subnets, cannot be deleted.")


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


def _associate() -> Associate:
    from netorch.control.actions.subnets import associate_route_table

    return associate_route_table


def _replace_association() -> Associate:
    from netorch.control.actions.subnets import replace_route_table_association

    return replace_route_table_association


def _used(subnet: Subnet) -> str:
    return f"subnet {subnet.name} ({subnet.id}) uses {subnet.route_table or 'the main table'}"


_ASSOCIATE = """Associate a route table with subnets.

They must use the main table; otherwise use `replace-association`."""
add_associate(command, NOUN, "associate", _ASSOCIATE, _associate, _used)
add_associate(command, NOUN, "replace-association", "Replace the route table of subnets.", _replace_association, _used)


@command.command()
@click.argument("table", shell_complete=complete("rtb"))
@click.option("--off", is_flag=True, help="Stop propagating.")
@output_option
@action
def propagate(session: Session, table: str, off: bool, output: str) -> None:
    """Propagate routes of a virtual private gateway.

    Static and local routes to the same destination take precedence.
    """
    from netorch.control.actions.private.propagation import disable_propagation, enable_propagation
    from netorch.control.base.routes import find_target
    from netorch.model.routing.target import TargetKind

    records, found = session.find("rtb", table)
    gateway = find_target(session.store, session.caller, records.vpc.record, TargetKind.VPN_GATEWAY, "")
    (disable_propagation if off else enable_propagation)(session.store, session.caller, found.id, gateway)
    NOUN.show(session, found.id, output)


@command.command("set-main")
@click.argument("table", shell_complete=complete("rtb"))
@output_option
@action
def set_main(session: Session, table: str, output: str) -> None:
    """Make a route table its VPC's main one.

    Subnets without an association follow. The former main table becomes an ordinary one.
    """
    from netorch.control.actions.route_tables import set_main_route_table

    changed = set_main_route_table(session.store, session.caller, session.id_of("rtb", table))
    NOUN.show(session, changed.id, output)


@command.command()
@resources_argument("subnet", "subnet")
@action
def disassociate(session: Session, resources: tuple[str, ...]) -> None:
    """Return subnets to the main route table."""
    from netorch.control.actions.subnets import disassociate_route_table

    for subnet_id in session.ids_of("subnet", resources):
        click.echo(_used(disassociate_route_table(session.store, session.caller, subnet_id)))


@command.group()
def route() -> None:
    """The routes of route tables.

    The longest prefix that contains the destination decides.
    """


add_rule_list(route, NOUN, ROUTES)


def _offer(incomplete: str, words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})


def _offer_destinations(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer prefix lists; a CIDR can be anything."""
    return _offer(incomplete, (f"pl-{_last(path)}" for path in names_of("pl", context.find_root().params)))


def _offer_targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the next word of a target: instances behind `eni`, else what a target begins with."""
    from netorch.model.ids import is_id

    options, said = context.find_root().params, context.params.get("target") or ()
    if said[-1:] == ("eni",):
        return _offer(incomplete, map(_last, names_of("i", options)))
    peerings = (path if is_id(path, "pcx") else f"pcx-{_last(path)}" for path in names_of("pcx", options))
    return _offer(incomplete, ["blackhole", "eni", "vgw", *([] if said else ["via"]), *peerings])


def _last(path: str) -> str:
    """Return a resource's name without its VPC: routes name what is in the table's own."""
    return path.rpartition("/")[2]


table_argument = click.argument("table", shell_complete=complete("rtb"))
destination_argument = click.argument("destination", shell_complete=_offer_destinations)
target_argument = click.argument("target", nargs=-1, required=True, metavar="[via] TARGET", shell_complete=_offer_targets)


@route.command()
@table_argument
@destination_argument
@target_argument
@output_option
@action
def add(session: Session, table: str, destination: str, target: tuple[str, ...], output: str) -> None:
    """Add a route to a route table.

    DESTINATION is a CIDR or pl-NAME, a prefix list. TARGET is igw, eigw, vgw, nat-NAME (a NAT gateway), eni NAME (the interface
    of an instance), pcx-NAME (a peering connection), blackhole, or an id.

    Examples:

    \b
    netorch route-table route add public 0.0.0.0/0 igw
    netorch route-table route add private 0.0.0.0/0 nat-out
    netorch route-table route add inspected 0.0.0.0/0 via eni fw-1
    """
    from netorch.control.actions.route_tables import create_route

    changed = create_route(session.store, session.caller, session.id_of("rtb", table), destination, _words(target))
    NOUN.show(session, changed.id, output)


@route.command()
@table_argument
@destination_argument
@target_argument
@output_option
@action
def replace(session: Session, table: str, destination: str, target: tuple[str, ...], output: str) -> None:
    """Change the target of a route.

    A route to an interface can replace the local route. The target local restores it.
    """
    from netorch.control.actions.route_tables import replace_route

    changed = replace_route(session.store, session.caller, session.id_of("rtb", table), destination, _words(target))
    NOUN.show(session, changed.id, output)


@route.command()
@table_argument
@destination_argument
@action
def delete(session: Session, table: str, destination: str) -> None:
    """Delete a route from a route table."""
    from netorch.control.actions.route_tables import delete_route

    changed = delete_route(session.store, session.caller, session.id_of("rtb", table), destination)
    click.echo(f"deleted the route to {destination} from {changed.id}")


def _words(target: tuple[str, ...]) -> str:
    """Return a target without the word before it: `via` is written, as in a vpc.yaml, or left out."""
    return " ".join(target[1:] if target[0] == "via" and len(target) > 1 else target)
