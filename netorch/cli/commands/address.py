"""`netorch address`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, pass_session, tag_option, warn
from netorch.cli.nouns import Delete, add_delete, add_list, add_show, add_tagging, resource_argument
from netorch.cli.output import Columns, output_option, show_record, show_records, show_rows
from netorch.model.status import PublicUse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorch.control.actions.outside.addresses import AddressInfo
    from netorch.control.actions.outside.pools import PoolInfo
    from netorch.control.views.ephemeral import EphemeralInfo

COLUMNS = Columns(
    ("address", "kind", "name", "owner", "vpc", "instance", "private_address"), ("pool", "eni", "association", "tags", "id")
)
POOL_COLUMNS = Columns(
    ("name", "pair", "cidrs", "addresses", "held", "free"), ("held_down", "ipv6_ranges", "ipv6_held", "ipv6_free", "tags")
)
FOUND = ("key", "found")
USE = PublicUse.__struct_fields__  # packets and bytes, in and out


@click.group()
def command() -> None:
    """Elastic IP addresses: public addresses that a customer holds and associates with private ones. Pools are the operator's."""


def row(info: AddressInfo) -> dict[str, Any]:
    """Return an elastic IP as it is shown."""
    mapping = info.mapping
    return {
        **msgspec.structs.asdict(info.elastic),
        "kind": "elastic",
        "vni": info.elastic.vni or None,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}" if info.vpc is not None else "",
        "instance": info.instance,
        "eni": mapping.eni if mapping is not None else "",
        "private_address": mapping.private_address if mapping is not None else "",
        "association": mapping.association if mapping is not None else "",
        **{field: getattr(info.use, field) for field in USE},
    }


def ephemeral_row(info: EphemeralInfo) -> dict[str, Any]:
    """Return an ephemeral address as it is shown: like an elastic IP without name, tags and id."""
    mapping = info.mapping
    return {
        "id": "",
        "owner": info.vpc.owner,
        "address": mapping.address,
        "pool": mapping.pool,
        "name": "",
        "vni": mapping.vni,
        "tags": {},
        "kind": "ephemeral",
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "instance": info.instance,
        "eni": mapping.eni,
        "private_address": mapping.private_address,
        "association": mapping.association,
        **dict.fromkeys(USE, 0),  # these are counted of elastic ones only
    }


def _rows(session: Session, _vpc: str | None, _output: str) -> list[dict[str, Any]]:
    from netorch.control.actions.outside.addresses import describe_addresses
    from netorch.control.views.ephemeral import ephemeral_addresses

    elastic = [row(info) for info in describe_addresses(session.store, session.caller)]
    return elastic + [ephemeral_row(info) for info in ephemeral_addresses(session.inventory(), session.caller)]


def _show(session: Session, ids: Sequence[str], output: str) -> None:
    from netorch.control.actions.outside.addresses import describe_address

    show_records([row(describe_address(session.store, session.caller, found)) for found in ids], output)


def _release() -> Delete:
    from netorch.control.actions.outside.addresses import release_address

    return release_address


add_list(
    command,
    "List elastic IP addresses and the ephemeral addresses of instances.",
    COLUMNS,
    _rows,
    within_vpcs=False,
)
add_show(command, "eipalloc", "address", "Show elastic IP addresses.", _show)
add_tagging(command, "eipalloc", "address")
add_delete(
    command,
    "eipalloc",
    "address",
    "Release elastic IP addresses that are not associated.\n\nFor an hour only you can allocate them again.",
    _release,
    verb="release",
)


@command.command()
@click.option("--pool", default="", help="Default: any.", shell_complete=complete("pool"))
@click.option("--address", default="", help="Default: any free one.")
@click.option("--name", default="")
@tag_option
@output_option
@action
def allocate(session: Session, pool: str, address: str, name: str, tags: dict[str, str], output: str) -> None:
    """Allocate an elastic IP address.

    You keep it until you release it. --address reclaims an address that you released recently.
    """
    from netorch.control.actions.outside.addresses import allocate_address

    made = allocate_address(session.store, session.caller, pool=pool, address=address, name=name, tags=tags)
    _show(session, [made.id], output)


@command.command()
@resource_argument("eipalloc", "address")
@click.option("--instance", default="", help="An instance with a single interface.", shell_complete=complete("i"))
@click.option("--eni", default="", help="A network interface.", shell_complete=complete("eni"))
@click.option("--private-ip", default="", metavar="ADDRESS", help="One of the interface's addresses. Default: its only one.")
@click.option("--allow-reassociation", is_flag=True, help="Replace an existing association of either address.")
@output_option
@action
def associate(
    session: Session, resource: str, instance: str, eni: str, private_ip: str, allow_reassociation: bool, output: str
) -> None:
    """Associate an elastic IP address with a private one.

    It replaces the ephemeral public address that an instance came with. The VPC needs an internet gateway.
    """
    from netorch.control.actions.outside.addresses import associate_address

    (allocation,) = session.ids_of("eipalloc", [resource])
    associate_address(
        session.store,
        session.caller,
        allocation,
        instance=session.id_of("i", instance) if instance else "",
        interface=session.id_of("eni", eni) if eni else "",
        private=private_ip,
        allow_reassociation=allow_reassociation,
    )
    _show(session, [allocation], output)


@command.command()
@resource_argument("eipalloc", "address")
@action
def disassociate(session: Session, resource: str) -> None:
    """Disassociate an elastic IP address. You keep the address."""
    from netorch.control.actions.outside.addresses import disassociate_address

    (allocation,) = session.ids_of("eipalloc", [resource])
    click.echo(f"disassociated {disassociate_address(session.store, session.caller, allocation).address}")


@command.command()
@output_option
@pass_session
@click.pass_context
def audit(context: click.Context, session: Session, output: str) -> None:
    """Check that no public address has leaked or is used twice.

    Compares allocations with elastic IPs and associations, in both directions.

    Exit codes: 0 they agree, 2 they differ.
    """
    from netorch.records.public import wrong_addresses

    session.operator_only("the audit of addresses")
    inventory = session.inventory()
    rows = [{"key": error.key, "found": error.what} for error in wrong_addresses(inventory)]
    if rows or output != "table":
        show_rows(rows, FOUND, output)
    else:
        click.echo("every public address has exactly one holder, the recorded one")
    context.exit(2 if rows else 0)


@command.group("pool")
@pass_session
def pools(session: Session) -> None:
    """Pools of public addresses: ranges that the border router sends to one pair of edges."""
    session.operator_only("address pools")


def pool_row(info: PoolInfo) -> dict[str, Any]:
    """Return a pool as it is shown."""
    return {
        **msgspec.structs.asdict(info.pool),
        "addresses": info.ipv4.total,
        "held": info.ipv4.held,
        "held_down": info.ipv4.held_down,
        "free": info.ipv4.free,
        "ipv6_ranges": info.ipv6.total,
        "ipv6_held": info.ipv6.held,
        "ipv6_held_down": info.ipv6.held_down,
        "ipv6_free": info.ipv6.free,
    }


def _pool_rows(session: Session, _vpc: str | None, _output: str) -> list[dict[str, Any]]:
    from netorch.control.actions.outside.pools import describe_pools

    return [pool_row(info) for info in describe_pools(session.store, session.caller)]


def _show_pools(session: Session, names: Sequence[str], output: str) -> None:
    from netorch.control.actions.outside.pools import describe_pool

    show_records([pool_row(describe_pool(session.store, session.caller, name)) for name in names], output)


def _delete_pool() -> Delete:
    from netorch.control.actions.outside.pools import delete_pool

    return delete_pool


add_list(pools, "List address pools.", POOL_COLUMNS, _pool_rows, within_vpcs=False)
add_show(pools, "pool", "pool", "Show address pools.", _show_pools)
add_tagging(pools, "pool", "pool")
add_delete(pools, "pool", "pool", "Delete address pools that are not in use.", _delete_pool)
_cidrs = click.argument("cidrs", metavar="CIDR...", nargs=-1, required=True)


@pools.command("create")
@click.argument("name")
@click.option("--pair", required=True, help="The pair of edges that the border router sends the addresses to.")
@click.option("--cidr", "cidrs", multiple=True, required=True, metavar="CIDR", help="IPv4, or IPv6 /56 or larger; repeatable.")
@tag_option
@output_option
@action
def create_pool(session: Session, name: str, pair: str, cidrs: tuple[str, ...], tags: dict[str, str], output: str) -> None:
    """Create an address pool. Customers get single addresses from its IPv4 ranges, VPCs get a /56 from its IPv6 ranges."""
    from netorch.control.actions.outside import pools as actions

    pool = actions.create_pool(session.store, session.caller, name=name, pair=pair, cidrs=cidrs, tags=tags)
    for note in actions.range_notes(name, pool.cidrs):
        warn(note)
    show_record(pool_row(actions.describe_pool(session.store, session.caller, name)), output)


@pools.command()
@resource_argument("pool", "pool")
@_cidrs
@action
def add(session: Session, resource: str, cidrs: tuple[str, ...]) -> None:
    """Add ranges to a pool."""
    from netorch.control.actions.outside import pools as actions

    pool = actions.add_ranges(session.store, session.caller, resource, cidrs)
    for note in actions.range_notes(resource, pool.cidrs[-len(cidrs) :]):
        warn(note)
    click.echo(f"{resource} has {' '.join(pool.cidrs)}")


@pools.command()
@resource_argument("pool", "pool")
@_cidrs
@action
def remove(session: Session, resource: str, cidrs: tuple[str, ...]) -> None:
    """Remove unused ranges from a pool."""
    from netorch.control.actions.outside.pools import remove_ranges

    click.echo(f"{resource} has {' '.join(remove_ranges(session.store, session.caller, resource, cidrs).cidrs)}")
