"""`netorch subnet`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, complete, pass_session, tag_option, vpc_option
from netorch.cli.output import output_option, show_record, show_rows

if TYPE_CHECKING:
    from netorch.control.subnets import SubnetInfo

COLUMNS = ("name", "vpc", "cidr", "ipv6_cidr", "available_addresses", "route_table", "network_acl", "id")


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


@command.command("list")
@vpc_option
@output_option
@pass_session
def list_(session: Session, vpc: str | None, output: str) -> None:
    """List subnets."""
    from netorch.control.subnets import describe_subnets

    show_rows([row(info) for info in session.of_vpcs(vpc, describe_subnets)], COLUMNS, output)


@command.command()
@click.argument("subnet", shell_complete=complete("subnet"))
@output_option
@pass_session
def show(session: Session, subnet: str, output: str) -> None:
    """Show a subnet."""
    from netorch.control.subnets import describe_subnet

    show_record(row(describe_subnet(session.store, session.caller, session.id_of("subnet", subnet))), output)


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option("--cidr", required=True, help="Inside one of the VPC's ranges, /16 to /28.")
@click.option("--ipv6-cidr", default="", help="A /64 inside the VPC's /56.")
@click.option("--route-table", default="", help="The main one when left out.", shell_complete=complete("rtb"))
@click.option("--network-acl", default="", help="The default one when left out.", shell_complete=complete("acl"))
@tag_option
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    vpc: str,
    cidr: str,
    ipv6_cidr: str,
    route_table: str,
    network_acl: str,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a subnet."""
    from netorch.control.subnets import create_subnet, describe_subnet

    subnet = create_subnet(
        session.store,
        session.caller,
        session.id_of("vpc", vpc),
        name=name,
        cidr=cidr,
        ipv6_cidr=ipv6_cidr,
        route_table=session.id_of("rtb", route_table) if route_table else "",
        network_acl=session.id_of("acl", network_acl) if network_acl else "",
        tags=tags,
    )
    show_record(row(describe_subnet(session.store, session.caller, subnet.id)), output)


@command.command()
@click.argument("subnet", shell_complete=complete("subnet"))
@pass_session
def delete(session: Session, subnet: str) -> None:
    """Delete an empty subnet."""
    from netorch.control.subnets import delete_subnet

    resource_id = session.id_of("subnet", subnet)
    delete_subnet(session.store, session.caller, resource_id)
    click.echo(f"deleted {resource_id}")
