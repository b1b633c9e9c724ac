"""`netorch eigw`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netorch.cli.gateways import add_gateway_commands
from netorch.cli.nouns import Actions

if TYPE_CHECKING:
    from netorch.cli.gateways import Create


@click.group()
def command() -> None:
    """Egress-only internet gateways: outbound-only IPv6 access to the internet.

    A VPC has at most one.
    """


def _actions() -> Actions:
    from netorch.control.actions.outside.egress_only import (
        delete_egress_only_gateway,
        describe_egress_only_gateway,
        describe_egress_only_gateways,
    )

    return Actions(describe_egress_only_gateways, describe_egress_only_gateway, delete_egress_only_gateway)


def _create() -> Create:
    from netorch.control.actions.outside.egress_only import create_egress_only_gateway

    return create_egress_only_gateway


add_gateway_commands(
    command,
    "eigw",
    "egress-only internet gateway",
    _actions,
    _create,
    create_help="Create a VPC's egress-only internet gateway, and attach it.\n\nIt carries IPv6 of ranges that the VPC has "
    "from a pool: `netorch vpc associate-cidr VPC --provided-ipv6`. Then route subnets to it: "
    "`netorch route-table route add TABLE ::/0 eigw`.",
    delete_help="Delete an egress-only internet gateway.\n\nRoutes to it become black holes.",
)
