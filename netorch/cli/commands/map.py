"""`netorch map`: the mapping service."""

from __future__ import annotations

import contextlib
import select
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import msgspec

from netorch.cli.context import Session, complete, pass_session, state_option, vpc_option, warn
from netorch.cli.nouns import add_list
from netorch.cli.output import Columns, cell, output_option, show_record, show_rows, show_value
from netorch.cli.stdout import reader_left

if TYPE_CHECKING:
    from netorch.control.views.mappings import OfOutside
    from netorch.model.mapping import Mapping
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


def _blank(vpc: str, vni: int, generation: int) -> dict[str, Any]:
    """Return a row without the fields of one kind of mapping."""
    blank = dict.fromkeys(("address", "private_address", "host", "vtep", "mac", "eni", "move"), "")
    return {**blank, "vpc": vpc, "vni": vni, "groups": (), "generation": generation}


def outside_rows(vpc: str, mapping: OfOutside, generation: int) -> list[dict[str, Any]]:
    """Return a mapping of the outside as it is shown: a row for each edge, or each prefix that an edge reaches."""
    from netorch.model.mapping import PublicMapping, Reach

    known = _blank(vpc, mapping.vni, generation)
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
    """Follow changes of mappings until interrupted.

    One change per line, with the fields of `list`. A deleted one has no host: null in JSON.
    """
    from netorch.records import keys

    prefix = keys.map_prefix(session.find("vpc", vpc)[1].vni) if vpc else "map/"
    follower = session.store.watch([prefix], session.store.revision() + 1)
    with contextlib.closing(follower):
        while not reader_left():
            select.select([follower.fileno()], [], [], 1.0)
            for event in follower.poll():
                _print(session, event, output)


@command.command()
@output_option
@pass_session
@click.pass_context
def verify(context: click.Context, session: Session, output: str) -> None:
    """Find mappings that contradict other records.

    Compares them with each other, and with interfaces, gateways, hosts and what these must carry. Reads the whole store and
    asks no host: `netorch map cache HOST` compares a host with the store. `netorch store check` says how to put an
    earlier record back.

    Exit codes: 0 they agree, 2 they do not.
    """
    from netorch.records.valid.mappings import read_places, wrong_mappings

    session.operator_only("map verify")
    inventory = session.inventory()
    rows = [msgspec.structs.asdict(found) for found in wrong_mappings(inventory, read_places(session.store, inventory.revision))]
    if output != "table":
        show_value(rows, output)
    elif rows:
        click.echo("\n".join(f"{row['vpc'] or 'VNI ' + str(row['vni'])}: {row['address']}: {row['finding']}" for row in rows))
    else:
        count = sum(len(records.mappings) for records in inventory.vpcs.values())
        click.echo(f"{count} mappings of {len(inventory.vpcs)} VPCs agree with each other, with interfaces and with hosts")
    context.exit(2 if rows or session.left_out(inventory) else 0)


@command.command()
@click.argument("host", shell_complete=complete("host"))
@state_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0, max=60.0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long changes that are under way may take.",
)
@output_option
@pass_session
@click.pass_context
def cache(context: click.Context, session: Session, host: str, state_dir: Path, timeout: float, output: str) -> None:
    """Compare a host's agent and kernel with the store.

    Lists the mappings that either of them lacks, has in an earlier form, or has although the store has none for this host.
    Runs on that host, as root: it reads the agent's snapshot and the kernel, and changes nothing. In a lab:

    \b
    netorch lab exec --node HOST LAB -- netorch map cache HOST

    Exit codes: 0 both hold what the store has, 2 there are differences.
    """
    from netorch.agent.snapshot import SnapshotFile
    from netorch.diagnose.host.cache import STATES, read_cache

    session.operator_only("map cache")
    found = read_cache(host, session.store, SnapshotFile(state_dir / f"{host}.snapshot"), timeout)
    rows = [msgspec.structs.asdict(difference) for difference in found.differences]
    if output != "table":
        show_value({**msgspec.structs.asdict(found), "differences": rows}, output)
    else:
        if rows:
            show_rows(rows, ("where", "vpc", "address", "state", "found"), output)
        for where in ("agent", "kernel"):
            states = [row["state"] for row in rows if row["where"] == where]
            click.echo(f"{where}: {', '.join(f'{states.count(state)} {state}' for state in STATES)}")
        silent = "" if found.running else "; its agent is not running"
        click.echo(f"host {host}: {found.mappings} mappings of {found.vpcs} VPCs, followed to revision {found.revision}{silent}")
    context.exit(2 if rows else 0)


def _print(session: Session, event: Event, output: str) -> None:
    """Print a change of a mapping of a VPC that the caller may see."""
    from netorch.errors import UnreadableRecord
    from netorch.records.read import seen_vpc

    try:
        seen = seen_vpc(session.store, session.caller, int(event.key.split("/")[1], 16))
        rows = event_rows(f"{seen.record.owner}/{seen.record.name}" if seen is not None else "", event)
    except UnreadableRecord as error:
        warn(str(error))
        return
    for found in rows if seen is not None or session.caller.operator else ():
        if output == "json":
            click.echo(msgspec.json.encode(found).decode())
        else:
            fields = [field for field in COLUMNS.usual if found[field] != ""]
            click.echo("  ".join(f"{field}={cell(found[field])}" for field in fields))


def event_rows(vpc: str, event: Event) -> list[dict[str, Any]]:
    """Return a changed mapping as `list` shows it; the host of a deleted one is None. Raises UnreadableRecord."""
    from netorch.model.mapping import Mapping
    from netorch.model.services.zones import VpcZone
    from netorch.records.codec import decode
    from netorch.records.kinds import mapped
    from netorch.store.base import KeyValue

    _, digits, name = event.key.split("/", 2)
    if mapped(name) is VpcZone:  # it maps names
        return []
    rows = []
    if event.value is not None:
        found = decode(KeyValue(event.key, event.value, 0, 0), mapped(name))
        if isinstance(found, Mapping):
            return [row(vpc, found, event.mod_revision)]
        rows = outside_rows(vpc, cast("OfOutside", found), event.mod_revision)
    gone = {"address": (name.split("/") * 2)[1], "host": None}  # after eip/ or reach/, if there is a slash
    return rows or [{**_blank(vpc, int(digits, 16), event.mod_revision), **gone}]
