"""`netorch zone`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, pass_session, tag_option, warn
from netorch.cli.nouns import Actions, Noun, Rules, add_common
from netorch.cli.output import Columns, list_output_option, output_option, show_rows
from netorch.model.services.zones import DEFAULT_TTL, RecordType

if TYPE_CHECKING:
    from netorch.control.actions.services.zones import ZoneInfo
    from netorch.model.services.zones import PrivateZone

COLUMNS = Columns(("name", "owner", "domain", "vpcs", "records"), ("tags", "id"))
RECORD_COLUMNS = ("name", "type", "ttl", "values")


@click.group()
def command() -> None:
    """Private zones: DNS names that resolve only in the VPCs that you choose."""


def row(info: ZoneInfo) -> dict[str, Any]:
    """Return a zone as it is shown."""
    return {**msgspec.structs.asdict(info.found), "vpcs": list(info.vpcs), "records": record_rows(info.found)}


def record_rows(zone: PrivateZone) -> list[dict[str, Any]]:
    """Return the record sets of a zone as they are shown."""
    return [
        {"name": record.name, "type": record.type.value, "ttl": record.ttl, "values": list(record.values)}
        for record in zone.records
    ]


def _actions() -> Actions:
    from netorch.control.actions.services.zones import delete_zone, describe_zone, describe_zones

    return Actions(describe_zones, describe_zone, delete_zone)


_RECORDS = Rules(RECORD_COLUMNS, lambda info: record_rows(info.found), ("records",), ("records",), "record sets")
NOUN = Noun("zone", "private zone", COLUMNS, row, _actions, tables=(_RECORDS,), within_vpcs=False)
add_common(command, NOUN, "Delete private zones without record sets.")

_type = click.Choice([found.value for found in RecordType], case_sensitive=False)


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, help="The first VPC in which it resolves.", shell_complete=complete("vpc"))
@click.option("--domain", default="", help="The domain of the zone. Default: NAME.")
@tag_option
@output_option
@action
def create(session: Session, name: str, vpc: str, domain: str, tags: dict[str, str], output: str) -> None:
    """Create a private zone, e.g. corp.example.

    The zone owns its whole domain: names without a record set do not exist in its VPCs. The VPCs need DNS support and DNS host
    names.
    """
    from netorch.control.actions.services.zones import create_zone

    vpc_id = session.id_of("vpc", vpc)
    made = create_zone(session.store, session.caller, vpc_id, name=name, domain=domain, tags=tags)
    _warn_of(session, vpc, vpc_id)
    NOUN.show(session, made.id, output)


@command.command()
@click.argument("zone", shell_complete=complete("zone"))
@click.argument("vpc", shell_complete=complete("vpc"))
@action
def associate(session: Session, zone: str, vpc: str) -> None:
    """Associate a private zone with one more VPC of its owner."""
    from netorch.control.actions.services.zones import associate_zone

    vpc_id = session.id_of("vpc", vpc)
    associate_zone(session.store, session.caller, session.id_of("zone", zone), vpc_id)
    _warn_of(session, vpc, vpc_id)
    click.echo(f"{vpc} is associated with {zone}")


@command.command()
@click.argument("zone", shell_complete=complete("zone"))
@click.argument("vpc", shell_complete=complete("vpc"))
@action
def disassociate(session: Session, zone: str, vpc: str) -> None:
    """Disassociate a private zone from a VPC. Its last VPC cannot be disassociated."""
    from netorch.control.actions.services.zones import disassociate_zone

    disassociate_zone(session.store, session.caller, session.id_of("zone", zone), session.id_of("vpc", vpc))
    click.echo(f"{vpc} is no longer associated with {zone}")


def _warn_of(session: Session, vpc: str, vpc_id: str) -> None:
    """Say so if a VPC's attributes keep zones from being answered there."""
    from netorch.control.actions.vpcs import describe_vpc

    if not session.dry_run and not describe_vpc(session.store, session.caller, vpc_id).has_hostnames:
        warn(f"{vpc} does not resolve private zones yet: netorch vpc modify {vpc} --dns-support --dns-hostnames")


@command.group()
def record() -> None:
    """Record sets of private zones: A, AAAA, CNAME, MX, SRV, TXT."""


@record.command()
@click.argument("zone", shell_complete=complete("zone"))
@click.argument("name")
@click.argument("type", type=_type)
@click.argument("values", nargs=-1, required=True, metavar="VALUE...")
@click.option("--ttl", type=int, default=DEFAULT_TTL, show_default=True, metavar="SECONDS")
@output_option
@action
def put(session: Session, zone: str, name: str, type: str, values: tuple[str, ...], ttl: int, output: str) -> None:
    """Set the values of a name and type. They replace existing ones.

    NAME is the part in front of the zone's domain; @ is the domain itself, *.NAME all names below without a record set. Values
    are as in master files, e.g. 10.0.0.5, '10 mail.corp.example' (MX), '0 5 5432 db.corp.example' (SRV); texts have no quotes.
    """
    from netorch.control.actions.services.zones import put_record
    from netorch.model.services.zones import RecordSet

    asked = RecordSet(name=name, type=RecordType(type), ttl=ttl, values=values)
    changed = put_record(session.store, session.caller, session.id_of("zone", zone), asked)
    NOUN.show(session, changed.id, output)


@record.command("delete")
@click.argument("zone", shell_complete=complete("zone"))
@click.argument("name")
@click.argument("type", type=_type)
@action
def delete_record(session: Session, zone: str, name: str, type: str) -> None:
    """Delete a record set."""
    from netorch.control.actions.services.zones import delete_record

    delete_record(session.store, session.caller, session.id_of("zone", zone), name, RecordType(type))
    click.echo(f"deleted the {type} record set of {name} in {zone}")


@record.command("list")
@click.argument("zone", shell_complete=complete("zone"))
@list_output_option
@pass_session
def list_records(session: Session, zone: str, output: str) -> None:
    """List the record sets of a private zone."""
    from netorch.control.actions.services.zones import describe_zone

    found = describe_zone(session.store, session.caller, session.id_of("zone", zone)).found
    show_rows(record_rows(found), RECORD_COLUMNS, output)
