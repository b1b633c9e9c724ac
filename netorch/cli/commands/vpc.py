"""`netorch vpc`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, tag_option
from netorch.cli.nouns import Delete, add_delete, add_list, add_show, add_tagging
from netorch.cli.output import Columns, output_option, show_record, show_records
from netorch.model.vpc import Vpc

COLUMNS = Columns(
    ("name", "owner", "vni", "cidrs", "ipv6_cidrs"), ("ipv6_pools", "enable_dns_support", "enable_dns_hostnames", "tags", "id")
)


@click.group()
def command() -> None:
    """Virtual private clouds: each has its own address space, on every host."""


def row(vpc: Vpc) -> dict[str, Any]:
    """Return a VPC as it is shown."""
    return dict(msgspec.structs.asdict(vpc))


def _rows(session: Session, _vpc: str | None, _output: str) -> list[dict[str, Any]]:
    return [row(vpc) for vpc in session.vpcs(None)]


def _show(session: Session, ids: Sequence[str], output: str) -> None:
    from netorch.control.views.describe import resolve
    from netorch.records.kinds import of_vpc

    inventory = session.around([("vpc", vpc_id) for vpc_id in ids])
    told = sorted(inventory.vpc_status.items())
    rows = []
    for vpc_id in ids:
        records, record = resolve(inventory, session.caller, "vpc", vpc_id)
        counts = {f"{kind.noun.replace(' ', '_')}s": len(records.of(kind.type)) for kind in of_vpc()}
        counts["mappings"] = len(records.mappings)
        degraded = [f"{host}: {status.reason}" for (host, vni), status in told if vni == record.vni]
        rows.append({**row(record), **counts, "degraded": degraded})
    show_records(rows, output)


add_list(command, "List VPCs.", COLUMNS, _rows, within_vpcs=False)
add_show(
    command,
    "vpc",
    "VPC",
    "Show VPCs and how much is in them.\n\nDEGRADED lists the hosts on which the VPC is not fully programmed, and why.",
    _show,
)
add_tagging(command, "vpc", "VPC")


_provided = click.option("--provided-ipv6", is_flag=True, help="Assign a /56 from an address pool, which the internet can reach.")
_pool = click.option("--pool", default="", help="Default: any suitable pool.", shell_complete=complete("pool"))


@command.command()
@click.argument("name")
@click.option("--cidr", "cidrs", multiple=True, required=True, metavar="CIDR", help="IPv4, /16 to /28; repeatable.")
@click.option("--ipv6-cidr", "ipv6_cidrs", multiple=True, metavar="CIDR", help="A /56; makes the VPC dual stack.")
@_provided
@_pool
@click.option("--vni", type=int, help="Request this VNI.")
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    cidrs: tuple[str, ...],
    ipv6_cidrs: tuple[str, ...],
    provided_ipv6: bool,
    pool: str,
    vni: int | None,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a VPC with its main route table.

    Only IPv6 ranges from an address pool (--provided-ipv6) can use the internet.
    """
    from netorch.control.actions.outside.ranges import Provided
    from netorch.control.actions.vpcs import create_vpc

    session.creates = True
    _check_pool(provided_ipv6, pool)
    provided = Provided(pool=pool) if provided_ipv6 else None
    vpc = create_vpc(
        session.store, session.caller, name=name, cidrs=cidrs, ipv6_cidrs=ipv6_cidrs, provided=provided, vni=vni, tags=tags
    )
    show_record(row(vpc), output)


def _check_pool(provided_ipv6: bool, pool: str) -> None:
    if pool and not provided_ipv6:
        raise click.UsageError("--pool names the pool for --provided-ipv6; add that option, or leave --pool out")


@command.command("create-default")
@output_option
@action
def create_default(session: Session, output: str) -> None:
    """Create the default VPC.

    Instances that name no VPC run in it. The first such instance creates it.
    """
    from netorch.control.actions.vpcs import create_default_vpc

    session.creates = True
    show_record(row(create_default_vpc(session.store, session.caller)), output)


@command.command()
@click.argument("vpc", shell_complete=complete("vpc"))
@click.option("--dns-support/--no-dns-support", default=None, help="Whether DNS answers in the VPC.")
@click.option(
    "--dns-hostnames/--no-dns-hostnames", default=None, help="Whether instances, zones and endpoints have DNS names in the VPC."
)
@output_option
@action
def modify(session: Session, vpc: str, dns_support: bool | None, dns_hostnames: bool | None, output: str) -> None:
    """Change attributes of a VPC.

    With DNS support, DNS answers at 169.254.169.253 and at the primary range's address .2. With DNS host names as well, it
    answers for private zones, for endpoints, and for instances by their ids and public addresses.
    """
    from netorch.control.actions.services.attributes import modify_vpc

    vpc_id = session.id_of("vpc", vpc)
    changed = modify_vpc(
        session.store, session.caller, vpc_id, enable_dns_support=dns_support, enable_dns_hostnames=dns_hostnames
    )
    show_record(row(changed), output)


def _delete() -> Delete:
    from netorch.control.actions.vpcs import delete_vpc

    return delete_vpc


add_delete(command, "vpc", "VPC", "Delete an empty VPC.", _delete)


@command.command("associate-cidr")
@click.argument("vpc", shell_complete=complete("vpc"))
@click.argument("cidr", default="")
@_provided
@_pool
@output_option
@action
def associate(session: Session, vpc: str, cidr: str, provided_ipv6: bool, pool: str, output: str) -> None:
    """Add an address range to a VPC.

    It is a CIDR, or an IPv6 range out of an address pool (--provided-ipv6).
    """
    from netorch.control.actions.outside.ranges import Provided
    from netorch.control.actions.vpcs import associate_cidr

    _check_pool(provided_ipv6, pool)
    if bool(cidr) == provided_ipv6:
        raise click.UsageError("give a CIDR, or use --provided-ipv6")
    asked = Provided(pool=pool) if provided_ipv6 else cidr
    show_record(row(associate_cidr(session.store, session.caller, session.id_of("vpc", vpc), asked)), output)


@command.command("disassociate-cidr")
@click.argument("vpc", shell_complete=complete("vpc"))
@click.argument("cidr")
@output_option
@action
def disassociate(session: Session, vpc: str, cidr: str, output: str) -> None:
    """Remove an address range that no subnet uses."""
    from netorch.control.actions.vpcs import disassociate_cidr

    show_record(row(disassociate_cidr(session.store, session.caller, session.id_of("vpc", vpc), cidr)), output)
