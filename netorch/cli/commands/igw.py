"""`netorch igw`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netorch.cli.gateways import add_gateway_commands
from netorch.cli.nouns import Actions

if TYPE_CHECKING:
    from netorch.cli.gateways import Create


@click.group()
def command() -> None:
    """Internet gateways: they connect a VPC to the internet, in both directions. A VPC has at most one."""


def _actions() -> Actions:
    from netorch.control.actions.outside.gateways import (
        delete_internet_gateway,
        describe_internet_gateway,
        describe_internet_gateways,
    )

    return Actions(describe_internet_gateways, describe_internet_gateway, delete_internet_gateway)


def _create() -> Create:
    from netorch.control.actions.outside.gateways import create_internet_gateway

    return create_internet_gateway


add_gateway_commands(
    command,
    "igw",
    "internet gateway",
    _actions,
    _create,
    create_help="Create a VPC's internet gateway, and attach it.\n\nThen route subnets to it: "
    "`netorch route-table route add TABLE 0.0.0.0/0 igw`.",
    delete_help="Delete an internet gateway.\n\nRoutes to it become black holes. The VPC must have no public addresses.",
)
