"""`netorch igw`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option

if TYPE_CHECKING:
    from netorch.control.actions.outside.gateways import OnlyGatewayInfo

COLUMNS = Columns(("name", "vpc"), ("pair", "edges", "tags", "id"))


@click.group()
def command() -> None:
    """Internet gateways: they connect a VPC with the internet, in both directions. A VPC has at most one."""


def row(info: OnlyGatewayInfo) -> dict[str, Any]:
    """Return an internet gateway as it is shown."""
    return {
        **msgspec.structs.asdict(info.gateway),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "pair": info.pair,
        "edges": list(info.edges),
    }


def _actions() -> Actions:
    from netorch.control.actions.outside.gateways import (
        delete_internet_gateway,
        describe_internet_gateway,
        describe_internet_gateways,
    )

    return Actions(describe_internet_gateways, describe_internet_gateway, delete_internet_gateway)


NOUN = Noun("igw", "internet gateway", COLUMNS, row, _actions, operators=("pair", "edges"))
add_common(
    command, NOUN, "Delete an internet gateway.\n\nRoutes to it become black holes. Its VPC must not have any public addresses."
)


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, tags: dict[str, str], output: str) -> None:
    """Create a VPC's internet gateway, and attach it.

    Then route subnets to it: `netorch route-table route add TABLE 0.0.0.0/0 igw`.
    """
    from netorch.control.actions.outside.gateways import create_internet_gateway

    gateway = create_internet_gateway(session.store, session.caller, session.id_of("vpc", vpc), name=name, tags=tags)
    NOUN.show(session, gateway.id, output)
