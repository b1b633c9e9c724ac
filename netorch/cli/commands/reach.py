"""`netorch reach`: who reaches whom, and what a file would change about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netorch.cli.context import Session, complete, pass_session
from netorch.cli.output import output_option, print_table, show_value
from netorch.cli.planning import read_cloud, source_path

if TYPE_CHECKING:
    from netorch.diagnose.reach import FlowChange, Flows

_SHOWN = 4  # names in a cell


@click.command()
@click.option("--matrix", "whole", is_flag=True, help="Show every open flow, and what routes drop.")
@click.option("--diff", "differs", is_flag=True, help="Show the flows that a file would open or close.")
@click.option(
    "-f", "--file", "path", type=click.Path(path_type=Path), default=Path("vpc.yaml"), show_default=True, help="For --diff."
)
@click.option("--vpc", default="", metavar="VPC", shell_complete=complete("vpc"), help="Only this VPC.")
@output_option
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, whole: bool, differs: bool, path: Path, vpc: str, output: str) -> None:
    """Show who can open which flows to whom, from security groups, network ACLs and route tables as they are stored.

    A flow is open when its first packet passes and the answer comes back; stateless ACLs must permit answers to all ports
    from 1024 to 65535. A flow is partly open when they permit only some of these ports, e.g. 32768 to 60999, Linux's own
    range. Instances that rules and routes treat alike share a line.

    Where a route leads to an interface, the flow passes through it, and its groups and ACLs must permit the flow as well. A
    flow that rules permit and routes drop is not open; it is shown with the reason.

    In a VPC with an internet gateway, interfaces with public addresses have `internet` as an end: the whole internet, or a
    range that a rule or route names. Flows through NAT and egress-only gateways are outbound only. Networks at customers'
    sites are ends for interfaces whose routes lead to the virtual private gateway: `on-prem 10.44.0.0/16 via vgw-...`.
    Endpoints are ends, too: `s3 198.19.0.0/24 via vpce-s3`, `vpce-db 10.0.9.9`. For the provider of a service, so are its
    consumers: `acme by db 10.0.8.20`. Policies of endpoints and buckets are not evaluated.

    Exit codes of --matrix: 0 complete, 2 something unreadable is left out; of --diff: 0 the file changes no flow, 2 it opens
    or closes one, even if only for some answer ports.
    """
    if whole == differs:
        raise click.UsageError("give either --matrix or --diff", context)
    if whole:
        from netorch.diagnose.reach import matrix

        inventory = session.neighbourhood([("vpc", vpc)]) if vpc else session.inventory()
        named = session.find("vpc", vpc)[1] if vpc else None
        found = matrix(inventory, session.caller)
        flows = [each for each in found if named is None or f"{named.owner}/{named.name}" in _vpcs(each)]
        if output != "table":
            show_value(flows, output)
        else:
            print_table(("vpc", "from", "to", "open"), [_cells(found) for found in flows])
            _count_partly(flows)
        context.exit(2 if session.left_out(inventory) else 0)
    changes = _changes(session, path, vpc)
    if output != "table":
        show_value(changes, output)
    elif not changes:
        click.echo("The file opens and closes no flow.")
    else:
        for change in changes:
            sign, colour = ("+", "green") if change.opened else ("-", "red")
            name, source, destination, services = _row(change.flows)
            click.echo(click.style(f"{sign} {name}  {source} -> {destination}: {services}", fg=colour))
        _count_partly([change.flows for change in changes])
    context.exit(2 if changes else 0)


def _changes(session: Session, path: Path, vpc: str) -> list[FlowChange]:
    from netorch.diagnose.reach import compare

    cloud = read_cloud(session, path)
    changes = compare(session.store, session.caller, cloud, source_path(path))
    if not vpc:
        return changes
    named = {f"{declared.owner}/{declared.name}" for declared in cloud.vpcs}
    wanted = {name for name in named if vpc in (name, name.partition("/")[2])}
    if not wanted:  # the file would delete it, or has nothing to do with it; a name that nobody has is no "no change"
        found = session.find("vpc", vpc)[1]
        wanted = {f"{found.owner}/{found.name}"}
    return [change for change in changes if not wanted.isdisjoint(_vpcs(change.flows))]


def _vpcs(flows: Flows) -> set[str]:
    """Return the VPCs, owner/name, in which flows begin and end."""
    return {flows.vpc, *(name.rpartition("/")[0] for name in flows.destinations if "/" in name)}


def _cells(flows: Flows) -> tuple[str, str, str, str]:
    """Return a line of the matrix, whose last column says what is open."""
    name, source, destination, said = _row(flows)
    return name, source, destination, f"none: {said}" if flows.code else said


def _row(flows: Flows) -> tuple[str, str, str, str]:
    version = " (IPv6)" if flows.version == 6 else ""
    services = "; ".join(flows.services)
    notes = [f"partly: answers only to ports {flows.answers}"] if flows.answers else []
    notes += [f"through {', '.join(flows.through)}"] if flows.through else []
    notes += [f"routes drop it: {flows.code}"] if flows.code else []
    said = f"{services} ({'; '.join(notes)})" if notes else services
    return flows.vpc + version, _short(flows.sources), _short(flows.destinations), said


def _count_partly(flows: Sequence[Flows]) -> None:
    count = sum(bool(found.answers) for found in flows)
    if count:
        many = f"{count} of {len(flows)} lines: partly open, as network ACLs let answers back to some of ports 1024 to 65535 only"
        click.echo(click.style(many, fg="yellow"))


def _short(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
