"""`netorch eigw`."""

from __future__ import annotations

import click

from netorch.cli.commands.igw import COLUMNS, row
from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import output_option


@click.group()
def command() -> None:
    """Egress-only internet gateways: instances open IPv6 connections to the internet, which cannot open any to them.

    A VPC has at most one.
    """


def _actions() -> Actions:
    from netorch.control.actions.outside.egress_only import (
        delete_egress_only_gateway,
        describe_egress_only_gateway,
        describe_egress_only_gateways,
    )

    return Actions(describe_egress_only_gateways, describe_egress_only_gateway, delete_egress_only_gateway)


NOUN = Noun("eigw", "egress-only internet gateway", COLUMNS, row, _actions, operators=("pair", "edges"))
add_common(command, NOUN, "Delete an egress-only internet gateway.\n\nRoutes to it become black holes.")


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, tags: dict[str, str], output: str) -> None:
    """Create a VPC's egress-only internet gateway, and attach it.

    It carries IPv6 of ranges that the VPC has from a pool: `netorch vpc associate-cidr VPC --provided-ipv6`. Then route subnets
    to it: `netorch route-table route add TABLE ::/0 eigw`.
    """
    from netorch.control.actions.outside.egress_only import create_egress_only_gateway

    gateway = create_egress_only_gateway(session.store, session.caller, session.id_of("vpc", vpc), name=name, tags=tags)
    NOUN.show(session, gateway.id, output)
