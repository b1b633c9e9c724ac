"""`netorch subnet`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, public_option, tag_option
from netorch.cli.nouns import Actions, Noun, add_common, resources_argument
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.subnets import SubnetInfo

COLUMNS = Columns(
    ("name", "vpc", "cidr", "ipv6_cidr", "available_addresses"), ("route_table", "network_acl", "public_on_launch", "tags", "id")
)


@click.group()
def command() -> None:
    """Subnets: slices of a VPC's addresses."""


def row(info: SubnetInfo) -> dict[str, Any]:
    """Return a subnet as it is shown."""
    record = msgspec.structs.asdict(info.subnet)
    del record["acl"]  # shown as network_acl: the one in force
    return {
        **record,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "route_table": info.route_table,
        "network_acl": info.network_acl,
        "available_addresses": info.available_addresses,
    }


def _actions() -> Actions:
    from netorch.control.actions.subnets import delete_subnet, describe_subnet, describe_subnets

    return Actions(describe_subnets, describe_subnet, delete_subnet)


NOUN = Noun("subnet", "subnet", COLUMNS, row, _actions)
add_common(command, NOUN, "Delete an empty subnet.")


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option("--cidr", required=True, help="Inside one of the VPC's ranges, /16 to /28.")
@click.option("--ipv6-cidr", default="", help="A /64 inside the VPC's /56.")
@click.option("--route-table", default="", help="Default: the main table.", shell_complete=complete("rtb"))
@click.option("--network-acl", default="", help="Default: the VPC's default ACL.", shell_complete=complete("acl"))
@click.option("--public-on-launch", is_flag=True, help="Give each new instance a public address.")
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    vpc: str,
    cidr: str,
    ipv6_cidr: str,
    route_table: str,
    network_acl: str,
    public_on_launch: bool,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a subnet."""
    from netorch.control.actions.subnets import create_subnet

    vpc_id = session.id_of("vpc", vpc)
    subnet = create_subnet(
        session.store,
        session.caller,
        vpc_id,
        name=name,
        cidr=cidr,
        ipv6_cidr=ipv6_cidr,
        route_table=session.id_beside("rtb", route_table, vpc_id) if route_table else "",
        network_acl=session.id_beside("acl", network_acl, vpc_id) if network_acl else "",
        public_on_launch=public_on_launch,
        tags=tags,
    )
    NOUN.show(session, subnet.id, output)


@command.command()
@resources_argument("subnet", "subnet")
@public_option("--public-on-launch/--no-public-on-launch", "Whether new instances get a public address.", required=True)
@action
def modify(session: Session, resources: tuple[str, ...], public_on_launch: bool) -> None:
    """Change whether new instances get public addresses.

    Existing instances stay as they are.
    """
    from netorch.control.actions.subnets import modify_subnet

    for subnet_id in session.ids_of("subnet", resources):
        modify_subnet(session.store, session.caller, subnet_id, public_on_launch=public_on_launch)
        click.echo(f"{subnet_id}: new instances get {'a public address' if public_on_launch else 'no public address'}")
