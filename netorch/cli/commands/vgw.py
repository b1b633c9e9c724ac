"""`netorch vgw`."""

from __future__ import annotations

import click

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.gateways import gateway_row
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option
from netorch.model.outside.vpn import AMAZON_ASN

COLUMNS = Columns(("name", "vpc", "asn"), ("pair", "edges", "tags", "id"))


@click.group()
def command() -> None:
    """Virtual private gateways: they connect a VPC to private networks elsewhere. A VPC has at most one."""


def _actions() -> Actions:
    from netorch.control.actions.private.gateways import delete_vpn_gateway, describe_vpn_gateway, describe_vpn_gateways

    return Actions(describe_vpn_gateways, describe_vpn_gateway, delete_vpn_gateway)


NOUN = Noun("vgw", "virtual private gateway", COLUMNS, gateway_row, _actions, operators=("pair", "edges"))
add_common(
    command,
    NOUN,
    "Delete a virtual private gateway.\n\nRoutes to it become black holes. Delete its VPN connections first.",
)


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, shell_complete=complete("vpc"))
@click.option("--asn", type=int, default=AMAZON_ASN, show_default=True, help="Its BGP AS number, from the private range.")
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, asn: int, tags: dict[str, str], output: str) -> None:
    """Create a VPC's virtual private gateway, and attach it.

    Then connect it: `netorch vpn create`, or `netorch dx vif create`. Propagate its routes into a table with `netorch
    route-table propagate TABLE`, or add a static route: `netorch route-table route add TABLE 192.168.0.0/16 vgw`.
    """
    from netorch.control.actions.private.gateways import create_vpn_gateway

    vpc_id = session.id_of("vpc", vpc)
    gateway = create_vpn_gateway(session.store, session.caller, vpc_id, name=name, asn=asn, tags=tags)
    NOUN.show(session, gateway.id, output)
