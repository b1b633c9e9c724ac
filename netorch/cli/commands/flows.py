"""`netorch flows`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import msgspec

from netorch.cli.context import Session, complete, pass_session
from netorch.cli.stdout import reader_left

if TYPE_CHECKING:
    from netorch.diagnose.flows import Seen

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}


@click.command()
@click.option(
    "-f", "--follow", is_flag=True, help="Show new connections (never marked [offloaded]) and dropped packets, until Ctrl-C."
)
@click.option("--verdict", type=click.Choice(["accept", "drop"]), help="Only flows with this verdict.")
@click.option("--vpc", help="Only this VPC.", shell_complete=complete("vpc"))
@click.option("--instance", help="Only to or from this instance.", shell_complete=complete("i"))
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="json: one a line."
)
@pass_session
def command(session: Session, follow: bool, verdict: str | None, vpc: str | None, instance: str | None, output: str) -> None:
    """Show the live connections of this host, or in a lab of all its hosts.

    Across several machines, run it on each host: a connection between two hosts has a line on each. The time in front is the
    connection's start, with the date if that is not today.

    [offloaded]: a flowtable of this host forwards the connection's packets, without asking rules again. Without this mark
    rules judge each packet here: the connection is new, has had no packet for 30 s, or is of a kind that no flowtable
    forwards. Reasons: docs/design/policy.md, "A slow connection". In json each connection has `offloaded`, true or false.

    With -f: new connections, and dropped packets with the reason. Packets that have no route are not shown: the router answers
    them with an ICMP error. A connection is shown once, when it begins, and no flowtable forwards it yet.
    """
    from netorch.control.views.describe import resolve
    from netorch.diagnose.flows import Wanted, Watcher

    named = [(kind, text) for kind, text in (("vpc", vpc), ("i", instance)) if text]
    inventory = session.neighbourhood(named) if named else session.inventory()
    found = [resolve(inventory, session.caller, kind, text)[1] for kind, text in named]
    vni, name = (found[-1].vni if found else 0), (found[-1].name if instance else "")
    if verdict == "drop" and not follow:
        raise click.UsageError("Dropped packets are not recorded; watch them with -f.")
    watcher = Watcher(inventory, session.caller, Wanted(verdict=verdict or "", vni=vni, instance=name))
    if follow:
        watcher.listen()
    for seen in watcher.follow() if follow else watcher.living():
        click.echo(msgspec.json.encode(seen).decode() if output == "json" else text_of(seen))
        if reader_left():
            return


def text_of(seen: Seen) -> str:
    """Return one line for people."""
    protocol = _PROTOCOLS.get(seen.protocol, str(seen.protocol))
    source, destination = _end(seen.source, seen.source_port), _end(seen.destination, seen.destination_port)
    names = f"({seen.source_instance or '?'} -> {seen.destination_instance or '?'})"
    verdict = click.style("DROP  ", fg="red") if seen.verdict == "drop" else click.style("ACCEPT", fg="green")
    icmp = f" {seen.icmp}" if seen.icmp else ""
    lost = f" [{seen.lost} before it were lost]" if seen.lost else ""
    why = f" {seen.reason}: {seen.why}" if seen.reason else " [offloaded]" if seen.offloaded else ""
    clock = _clock(seen.at_s, time.time())
    return f"{clock} {seen.host} {verdict} {seen.vpc or '-'} {protocol}{icmp} {source} > {destination} {names}{why}{lost}"


def _clock(at_s: float, now_s: float) -> str:
    """Return a local time, with the date if that is not today's."""
    at, now = time.localtime(at_s), time.localtime(now_s)
    return time.strftime("%H:%M:%S" if at[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", at)


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
