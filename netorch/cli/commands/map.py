"""`netorch map`: the mapping service."""

from __future__ import annotations

import contextlib
import select
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, complete, pass_session, vpc_option, warn
from netorch.cli.nouns import add_list
from netorch.cli.output import Columns, cell, output_option, show_record
from netorch.cli.stdout import reader_left

if TYPE_CHECKING:
    from netorch.control.views.mappings import OfOutside
    from netorch.model.mapping import Mapping
    from netorch.model.services.zones import VpcZone
    from netorch.store.base import Event

COLUMNS = Columns(("vpc", "address", "private_address", "host", "vtep", "generation", "move"), ("vni", "mac", "eni"))


@click.group()
def command() -> None:
    """The mapping service: (VNI, address) -> host. A generation is the store revision of the last change.

    Three more kinds serve the edges: (VNI, gateway) -> edges, (VNI, public address) -> private address, and (VNI, virtual
    private gateway, edge) -> prefixes.
    """


def row(vpc: str, mapping: Mapping, generation: int) -> dict[str, Any]:
    """Return a mapping as it is shown."""
    move = f"{mapping.move.direction.value} {mapping.move.host}" if mapping.move is not None else ""
    return {"vpc": vpc, **msgspec.structs.asdict(mapping), "private_address": "", "generation": generation, "move": move}


def outside_rows(vpc: str, mapping: OfOutside, generation: int) -> list[dict[str, Any]]:
    """Return a mapping of the outside as it is shown: a row for each edge, or each prefix that an edge reaches."""
    from netorch.model.mapping import PublicMapping, Reach

    blank = dict.fromkeys(("address", "private_address", "host", "vtep", "mac", "eni", "move"), "")
    known = {**blank, "vpc": vpc, "vni": mapping.vni, "groups": (), "generation": generation}
    if isinstance(mapping, PublicMapping):
        return [{**known, "address": mapping.address, "private_address": mapping.private_address, "eni": mapping.eni}]
    if isinstance(mapping, Reach):
        return [{**known, "address": found.prefix, "host": mapping.edge} for found in mapping.prefixes]
    return [{**known, "address": mapping.gateway, "host": seat.host, "vtep": seat.vtep} for seat in mapping.seats]


@command.command()
@click.argument("vpc", shell_complete=complete("vpc"))
@click.argument("address")
@output_option
@pass_session
def lookup(session: Session, vpc: str, address: str, output: str) -> None:
    """Show the host of an address of a VPC (name, id or VNI)."""
    from netorch.control.views.mappings import lookup_mapping, vpc_of

    found = vpc_of(session.store, session.caller, int(vpc) if vpc.isdigit() else session.id_of("vpc", vpc))
    stored = lookup_mapping(session.store, session.caller, found.id, address)
    show_record(row(f"{found.owner}/{found.name}", stored.record, stored.mod_revision), output)


def _rows(session: Session, vpc: str | None, _output: str) -> list[dict[str, Any]]:
    from netorch.control.views.mappings import list_mappings, list_outside

    rows = []
    for found in session.vpcs(vpc):
        path = f"{found.owner}/{found.name}"
        listed = list_mappings(session.store, session.caller, found.id)
        rows += [row(path, stored.record, stored.mod_revision) for stored in listed]
        for outside in list_outside(session.store, session.caller, found.id):
            rows += outside_rows(path, outside.record, outside.mod_revision)
    return rows


add_list(command, "List mappings; of a gateway, each edge that carries it.", COLUMNS, _rows, {"host": ()}, tagged=False)


@command.command()
@vpc_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_session
def watch(session: Session, vpc: str | None, output: str) -> None:
    """Follow changes of mappings, one per line, until interrupted."""
    from netorch.records import keys

    prefix = keys.map_prefix(session.find("vpc", vpc)[1].vni) if vpc else "map/"
    follower = session.store.watch([prefix], session.store.revision() + 1)
    with contextlib.closing(follower):
        while not reader_left():
            select.select([follower.fileno()], [], [], 1.0)
            for event in follower.poll():
                if session.caller.operator or _is_seen(session, event):
                    _print(event, output)


def _is_seen(session: Session, event: Event) -> bool:
    """Return whether a mapping is of a VPC that the caller may see."""
    from netorch.records.read import seen_vpc

    return seen_vpc(session.store, session.caller, int(event.key.split("/")[1], 16)) is not None


def _print(event: Event, output: str) -> None:
    from netorch.errors import UnreadableRecord
    from netorch.records.codec import decode
    from netorch.records.kinds import mapped
    from netorch.store.base import KeyValue

    _, digits, name = event.key.split("/", 2)
    try:
        found = decode(KeyValue(event.key, event.value, 0, 0), mapped(name)) if event.value is not None else None
    except UnreadableRecord as error:
        warn(str(error))
        return
    fact = {"generation": event.mod_revision, "vni": int(digits, 16), "address": name.rpartition("/")[2], **_facts(found)}
    if output == "json":
        click.echo(msgspec.json.encode(fact).decode())
    else:
        click.echo("  ".join(f"{field}={cell(value)}" for field, value in fact.items()))


def _facts(found: Mapping | OfOutside | VpcZone | None) -> dict[str, Any]:
    """Return what a mapping of any kind says; no host: there is none any more."""
    from netorch.model.mapping import GatewayMapping, PublicMapping, Reach
    from netorch.model.services.zones import VpcZone

    if found is None:
        return {"host": None}
    if isinstance(found, GatewayMapping):
        return {"edges": [seat.host for seat in found.seats]}
    if isinstance(found, PublicMapping):
        return {"private_address": found.private_address}
    if isinstance(found, Reach):
        return {"gateway": found.gateway, "prefixes": [reached.prefix for reached in found.prefixes]}
    if isinstance(found, VpcZone):
        return {"domain": found.domain, "record_sets": len(found.records)}
    move = {"move": f"{found.move.direction.value} {found.move.host}"} if found.move is not None else {}
    return {"host": found.host, **move}
