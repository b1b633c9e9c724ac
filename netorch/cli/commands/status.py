"""`netorch status`: one screen that says whether all is well."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from netorch.cli.called import as_called
from netorch.cli.context import Session, pass_session, warn
from netorch.cli.output import cell, output_option, print_table, show_value
from netorch.model.drop_reason import SUPPRESSED, text_of

COLUMNS = ("host", "underlay", "agent", "vpcs", "interfaces", "mappings", "objects", "writes", "repaired", "dropped")

PROXY_COLUMNS = ("proxy on", "endpoints", "connections", "requests", "denied", "malformed", "unavailable", "broken", "reset")
EDGE_COLUMNS = ("edge", "pair", "gateways", "NAT connections", "state", "left by", "uplink", "border")


@click.command()
@output_option
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, output: str) -> None:
    """Show hosts, agents, edges, dropped packets with their reasons, and problems.

    LEFT BY lists the hosts that use the other edge of a pair, because this one is silent or not ready.

    Edges with gateway endpoints show the counters of their proxy since it started: open connections, and finished requests.
    DENIED counts requests that a policy denied, MALFORMED those that were not valid HTTP, UNAVAILABLE those whose server did
    not answer, BROKEN those whose client or server closed early. RESET counts connections that the proxy closed because there
    were too many, or because they were slow or idle.

    Objects, writes, repairs and drops are as last published by the agents, at most a few seconds ago.

    Certificates that only people renew, yours and on the authority's machine those of operators and of members of etcd, cause a
    warning in the last third of their lives.

    Exit codes: 0 all is well, 2 something is wrong.
    """
    from netorch.cli.identities.certificates import DIRECTORY, notices
    from netorch.control.views.health import read_health

    session.operator_only("status")
    for notice in notices(session.store_url, Path(DIRECTORY), datetime.now(UTC)):
        warn(notice)
    health = read_health(session.store, time.time())
    if output != "table":
        show_value(health, output)
        context.exit(2 if health.problems else 0)
    print_table(COLUMNS, [[str(value) for value in _row(host).values()] for host in health.hosts])
    _show_edges(health)
    _show_drops(health)
    for host in health.hosts:
        if host.table_percent:
            click.echo(f"host {host.name}: its connection table is {host.table_percent} % full")
    counted = (("VPC", health.vpcs), ("instance", health.instances), ("mapping", health.mappings))
    counts = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in counted)
    click.echo(f"store: revision {health.revision}, {counts}")
    for note in health.notes:
        click.echo(f"note: {note}")
    for problem in health.problems:
        click.echo(click.style(f"problem: {as_called(problem)}", fg="red"))
    if not health.problems:
        click.echo(click.style("all is well", fg="green"))
    context.exit(2 if health.problems else 0)


def _show_edges(health: Any) -> None:  # noqa: ANN401 - Health, imported late
    """Print the edges of each pair, if there are any."""
    edges = [host for host in health.hosts if host.edge is not None]
    if edges:
        click.echo()
        edges.sort(key=lambda host: (host.edge.pair, host.name))
        print_table(EDGE_COLUMNS, [_edge_row(host) for host in edges])
    if proxies := [(host.name, host.edge.proxy) for host in edges if host.edge.proxy is not None]:
        click.echo()
        print_table(PROXY_COLUMNS, [_proxy_row(name, proxy) for name, proxy in proxies])


def _edge_row(host: Any) -> tuple[str, ...]:  # noqa: ANN401 - HostHealth, imported late
    said = host.readiness.partition(":")[0]  # why it is not ready is a problem, below
    border = ", ".join(f"{session.router} (AS {session.asn}) {session.state}" for session in host.border)
    edge = host.edge
    nat = f"{edge.connections}" + (f" ({edge.no_port} without a port)" if edge.no_port else "")
    return (host.name, edge.pair or "-", str(edge.gateways), nat, said, cell(edge.left_by), edge.uplink or "-", border or "-")


def _proxy_row(name: str, proxy: Any) -> tuple[str, ...]:  # noqa: ANN401 - ProxyHealth, imported late
    counts = (proxy.requests, proxy.denied, proxy.malformed, proxy.unavailable, proxy.broken, proxy.reset)
    return (name, str(proxy.endpoints), f"{proxy.connections} of {proxy.limit}", *map(str, counts))


def _show_drops(health: Any) -> None:  # noqa: ANN401 - Health, imported late
    """Print each host's counts by reason, in words."""
    found = [
        (host.name, reason, str(count), text_of(reason))
        for host in health.hosts
        for reason, count in sorted(host.dropped.items())
        if count and reason != SUPPRESSED
    ]
    click.echo()
    if found:
        print_table(("host", "dropped", "packets", "why"), found)
    else:
        click.echo("dropped packets: none")


def _row(host: Any) -> dict[str, Any]:  # noqa: ANN401 - HostHealth, imported late
    return {
        "host": host.name,
        "underlay": host.underlay,
        "agent": host.agent,
        "vpcs": host.vpcs,
        "interfaces": f"{host.attached}/{host.interfaces}",
        "mappings": host.mappings,
        "objects": host.objects,
        "writes": host.writes,
        "repaired": host.repaired,
        "dropped": sum(count for reason, count in host.dropped.items() if reason != SUPPRESSED),
    }
