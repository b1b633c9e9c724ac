"""`netorch nat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, Rules, add_common
from netorch.cli.output import Columns, output_option
from netorch.model.outside.nat_metrics import REASONS

if TYPE_CHECKING:
    from netorch.control.actions.outside.nats import NatGatewayInfo

COLUMNS = Columns(("name", "vpc", "subnet", "address", "public_addresses"), ("pair", "edges", "eni", "tags", "id"))


@click.group()
def command() -> None:
    """NAT gateways: a way to the internet for instances without public addresses, and none back."""


def row(info: NatGatewayInfo) -> dict[str, Any]:
    """Return a NAT gateway as it is shown."""
    return {
        **msgspec.structs.asdict(info.gateway),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "subnet": info.subnet,
        "address": info.address,
        "public_addresses": [mapping.address for mapping in info.public],
        "pair": info.pair,
        "edges": list(info.edges),
        "metrics": info.metrics,
        "dropped": info.dropped,
    }


def metric_rows(info: NatGatewayInfo) -> list[dict[str, Any]]:
    """Return EC2's metrics, then the packets that were dropped, as they are shown."""
    named = info.metrics | {f"dropped: {REASONS.get(reason, reason)}": count for reason, count in info.dropped.items()}
    return [{"metric": name, "value": value} for name, value in named.items()]


def _actions() -> Actions:
    from netorch.control.actions.outside.nats import delete_nat_gateway, describe_nat_gateway, describe_nat_gateways

    return Actions(describe_nat_gateways, describe_nat_gateway, delete_nat_gateway)


METRICS = Rules(("metric", "value"), metric_rows, counted=(), hidden=("metrics", "dropped"), called="metrics")
NOUN = Noun("nat", "NAT gateway", COLUMNS, row, _actions, METRICS, operators=("pair", "edges"))
add_common(
    command,
    NOUN,
    "Delete a NAT gateway.\n\nRoutes to it become black holes, its connections end. Its elastic IP address stays allocated.",
)


@command.command()
@click.argument("name")
@click.option("--subnet", required=True, help="Its packets go by this subnet's route table.", shell_complete=complete("subnet"))
@click.option(
    "--elastic-ip", required=True, help="In whose name it sends: name, address or id.", shell_complete=complete("eipalloc")
)
@click.option("--address", default="", help="Its private address; chosen when left out.")
@tag_option
@output_option
@action
def create(session: Session, name: str, subnet: str, elastic_ip: str, address: str, tags: dict[str, str], output: str) -> None:
    """Create a NAT gateway in a subnet of a VPC with an internet gateway.

    Then let other subnets' route tables lead to it: `netorch route-table route add TABLE 0.0.0.0/0 nat-NAME`. The route table of
    its own subnet must lead to the internet gateway.
    """
    from netorch.control.actions.outside.addresses import allocation_of
    from netorch.control.actions.outside.nats import create_nat_gateway

    allocation = allocation_of(session.store, session.caller, elastic_ip)
    subnet_id = session.id_of("subnet", subnet)
    gateway = create_nat_gateway(session.store, session.caller, subnet_id, allocation, name=name, address=address, tags=tags)
    NOUN.show(session, gateway.id, output)
