"""`netorch cgw`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option
from netorch.model.outside.vpn import CUSTOMER_ASN

if TYPE_CHECKING:
    from netorch.control.actions.private.customers import CustomerGatewayInfo

COLUMNS = Columns(("name", "owner", "address", "identity", "asn"), ("connections", "tags", "id"))


@click.group()
def command() -> None:
    """Customer gateways: records of the customer's own VPN devices. They cannot be modified."""


def row(info: CustomerGatewayInfo) -> dict[str, Any]:
    """Return a customer gateway as it is shown."""
    return {**msgspec.structs.asdict(info.gateway), "connections": list(info.connections)}


def _actions() -> Actions:
    from netorch.control.actions.private.customers import (
        delete_customer_gateway,
        describe_customer_gateway,
        describe_customer_gateways,
    )

    return Actions(describe_customer_gateways, describe_customer_gateway, delete_customer_gateway)


NOUN = Noun("cgw", "customer gateway", COLUMNS, row, _actions, within_vpcs=False)
add_common(command, NOUN, "Delete customer gateways without VPN connections.")


@command.command()
@click.argument("name")
@click.option("--address", default="", help="The public IPv4 address of the device, or of the NAT in front of it. Default: any.")
@click.option("--identity", default="", help="The IKE identity of the device, e.g. a domain name. Default: its address.")
@click.option("--asn", type=int, default=CUSTOMER_ASN, show_default=True, help="The AS number of the device, for BGP.")
@tag_option
@output_option
@action
def create(session: Session, name: str, address: str, identity: str, asn: int, tags: dict[str, str], output: str) -> None:
    """Describe a customer's VPN device.

    If one with this address, identity and AS number exists, it is returned, as in EC2. A device with tunnels to several VPCs
    needs an identity for each.
    """
    from netorch.control.actions.private.customers import create_customer_gateway

    made = create_customer_gateway(
        session.store, session.caller, name=name, asn=asn, address=address, identity=identity, tags=tags
    )
    NOUN.show(session, made.id, output)
