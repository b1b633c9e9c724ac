"""`netorch nat`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Actions, Noun, Rules, add_common, resource_argument
from netorch.cli.output import Columns, output_option
from netorch.model.outside.nat_metrics import REASONS

if TYPE_CHECKING:
    from netorch.control.actions.outside.nats import NatGatewayInfo

COLUMNS = Columns(("name", "vpc", "subnet", "address", "public_addresses"), ("pair", "edges", "eni", "tags", "id"))


@click.group()
def command() -> None:
    """NAT gateways: outbound-only internet access without public addresses."""


def row(info: NatGatewayInfo) -> dict[str, Any]:
    """Return a NAT gateway as it is shown."""
    return {
        **msgspec.structs.asdict(info.gateway),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "subnet": info.subnet,
        "address": info.address,
        "public_addresses": [mapping.address for mapping in info.public],
        "addresses": address_rows(info),
        "pair": info.pair,
        "edges": list(info.edges),
        "metrics": info.metrics,
        "dropped": info.dropped,
    }


def address_rows(info: NatGatewayInfo) -> list[dict[str, Any]]:
    """Return a gateway's addresses, as EC2 does in NatGatewayAddresses."""
    return [
        {
            "public_address": mapping.address,
            "private_address": mapping.private_address,
            "allocation": mapping.allocation,
            "association": mapping.association,
            "primary": mapping.private_address == info.address,
            "status": "disassociating" if mapping.private_address in info.gateway.draining else "succeeded",
        }
        for mapping in info.public
    ]


def metric_rows(info: NatGatewayInfo) -> list[dict[str, Any]]:
    """Return EC2's metrics, then the packets that were dropped, as they are shown."""
    named = info.metrics | {f"dropped: {REASONS.get(reason, reason)}": count for reason, count in info.dropped.items()}
    return [{"metric": name, "value": value} for name, value in named.items()]


def _actions() -> Actions:
    from netorch.control.actions.outside.nats import delete_nat_gateway, describe_nat_gateway, describe_nat_gateways

    return Actions(describe_nat_gateways, describe_nat_gateway, delete_nat_gateway)


ADDRESSES = Rules(
    ("public_address", "private_address", "primary", "status"),
    address_rows,
    counted=(),
    hidden=("public_addresses", "address", "addresses", "draining"),
    called="addresses",
)
METRICS = Rules(("metric", "value"), metric_rows, counted=(), hidden=("metrics", "dropped"), called="metrics")
NOUN = Noun("nat", "NAT gateway", COLUMNS, row, _actions, (ADDRESSES, METRICS), operators=("pair", "edges"))
add_common(
    command,
    NOUN,
    "Delete a NAT gateway.\n\nRoutes to it become black holes and its connections end. Its elastic IPs stay allocated.",
)


@command.command()
@click.argument("name")
@click.option(
    "--subnet",
    required=True,
    help="The subnet of the gateway. Its packets follow that subnet's route table.",
    shell_complete=complete("subnet"),
)
@click.option(
    "--elastic-ip",
    "elastic_ips",
    required=True,
    multiple=True,
    help="Its elastic IPs, up to eight: name, address or id; repeatable. The first one is the primary one.",
    shell_complete=complete("eipalloc"),
)
@click.option("--address", default="", help="Its primary private address. Default: the next free one.")
@tag_option
@output_option
@action
def create(
    session: Session, name: str, subnet: str, elastic_ips: tuple[str, ...], address: str, tags: dict[str, str], output: str
) -> None:
    """Create a NAT gateway in a subnet of a VPC with an internet gateway.

    Then route other subnets to it: `netorch route-table route add TABLE 0.0.0.0/0 nat-NAME`. The route table of its own subnet
    must have a route to the internet gateway. `netorch nat associate-address` adds further elastic IPs later.
    """
    from netorch.control.actions.outside.addresses import allocation_of
    from netorch.control.actions.outside.nats import create_nat_gateway

    primary, *secondary = [allocation_of(session.store, session.caller, text) for text in elastic_ips]
    subnet_id = session.id_of("subnet", subnet)
    gateway = create_nat_gateway(
        session.store, session.caller, subnet_id, primary, name=name, secondary=secondary, address=address, tags=tags
    )
    NOUN.show(session, gateway.id, output)


@command.command("associate-address")
@resource_argument("nat", "NAT gateway")
@click.argument("elastic_ips", nargs=-1, required=True, shell_complete=complete("eipalloc"))
@output_option
@action
def associate_address(session: Session, resource: str, elastic_ips: tuple[str, ...], output: str) -> None:
    """Add secondary elastic IPs to a NAT gateway.

    It has at most eight in all. All connections from one instance to one destination use the same address; others are spread
    over the addresses. Each address has all ports for each destination.
    """
    from netorch.control.actions.outside.addresses import allocation_of
    from netorch.control.actions.outside.nat_addresses import associate_nat_gateway_address

    nat_id = session.id_of("nat", resource)
    allocations = [allocation_of(session.store, session.caller, text) for text in elastic_ips]
    associate_nat_gateway_address(session.store, session.caller, nat_id, allocations)
    NOUN.show(session, nat_id, output)


@command.command("disassociate-address")
@resource_argument("nat", "NAT gateway")
@click.argument("elastic_ips", nargs=-1, required=True, shell_complete=complete("eipalloc"))
@click.option(
    "--max-drain-duration",
    "drain_s",
    type=int,
    default=350,
    show_default=True,
    help="Seconds to wait before ending connections that still use the address.",
)
@output_option
@action
def disassociate_address(session: Session, resource: str, elastic_ips: tuple[str, ...], drain_s: int, output: str) -> None:
    """Remove secondary elastic IPs from a NAT gateway.

    They take no new connections, and are disassociated once their connections have ended. The primary one, with which the gateway
    was created, stays. `netorch nat show` shows the status of each address.
    """
    from netorch.control.actions.outside.addresses import allocation_of
    from netorch.control.actions.outside.nat_addresses import disassociate_nat_gateway_address
    from netorch.control.actions.outside.nats import describe_nat_gateway

    nat_id = session.id_of("nat", resource)
    allocations = [allocation_of(session.store, session.caller, text) for text in elastic_ips]
    before = describe_nat_gateway(session.store, session.caller, nat_id)
    drains = disassociate_nat_gateway_address(session.store, session.caller, nat_id, allocations, drain_s=drain_s).draining
    for mapping in before.public:
        if mapping.allocation in allocations and mapping.private_address in before.gateway.draining:
            left = math.ceil(drains[mapping.private_address] - session.caller.now())
            click.echo(f"{mapping.address} is draining already, and ends within {left} s", err=True)
    NOUN.show(session, nat_id, output)
