"""`netorch flow-log`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, flow_log_option, pass_session, tag_option
from netorch.cli.nouns import Actions, Noun, add_common
from netorch.cli.output import Columns, output_option, show_value
from netorch.model.flow_log import format_text

if TYPE_CHECKING:
    from netorch.control.actions.flow_logs import FlowLogInfo

COLUMNS = Columns(("name", "vpc", "resource", "traffic", "interval_s"), ("format", "tags", "id"))


@click.group()
def command() -> None:
    """Flow logs: accepted and rejected traffic, as EC2 records it."""


def row(info: FlowLogInfo) -> dict[str, Any]:
    """Return a flow log as it is shown."""
    return {
        **msgspec.structs.asdict(info.log),
        "traffic": info.log.traffic.value,
        "interval_s": info.log.interval_s,
        "format": format_text(info.log.format),
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
    }


def _actions() -> Actions:
    from netorch.control.actions.flow_logs import delete_flow_log, describe_flow_log, describe_flow_logs

    return Actions(describe_flow_logs, describe_flow_log, delete_flow_log)


NOUN = Noun("fl", "flow log", COLUMNS, row, _actions)
add_common(command, NOUN, "Delete a flow log; its files stay.")


@command.command()
@click.argument("name")
@click.option("--vpc", help="Log all interfaces of this VPC.", shell_complete=complete("vpc"))
@click.option("--subnet", help="Log all interfaces of this subnet.", shell_complete=complete("subnet"))
@click.option("--eni", help="Log this interface.", shell_complete=complete("eni"))
@click.option("--traffic", type=click.Choice(["accept", "reject", "all"], case_sensitive=False), default="all", show_default=True)
@click.option(
    "--interval", "interval_s", type=int, default=600, show_default=True, metavar="SECONDS", help="The aggregation interval."
)
@click.option("--format", "log_format", default="", metavar="FIELDS", help="The fields, as in EC2: '${version} ${srcaddr}'.")
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    vpc: str | None,
    subnet: str | None,
    eni: str | None,
    traffic: str,
    interval_s: int,
    log_format: str,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a flow log of a VPC, a subnet or an interface."""
    from netorch.control.actions.flow_logs import create_flow_log
    from netorch.model.flow_log import Traffic

    given = [(kind, text) for kind, text in (("vpc", vpc), ("subnet", subnet), ("eni", eni)) if text]
    if len(given) != 1:
        raise click.UsageError("Give exactly one of --vpc, --subnet and --eni.")
    log = create_flow_log(
        session.store,
        session.caller,
        session.id_of(*given[0]),
        name=name,
        traffic=Traffic(traffic.upper()),
        interval_s=interval_s,
        log_format=log_format,
        tags=tags,
    )
    NOUN.show(session, log.id, output)


@command.command()
@click.argument("log", shell_complete=complete("fl"))
@click.option("--host", help="Show only the lines that this host wrote.", shell_complete=complete("host"))
@flow_log_option
@output_option
@pass_session
def read(session: Session, log: str, host: str | None, flow_log_dir: Path, output: str) -> None:
    """Print the lines of a flow log on this machine.

    A header names the fields; then come the lines host by host, oldest first. Each host keeps its own lines: across several
    machines, run this on each host that carries logged interfaces.
    """
    from netorch.agent.flowlog.files import log_directory, read_lines
    from netorch.control.actions.flow_logs import describe_flow_log

    info = describe_flow_log(session.store, session.caller, session.id_of("fl", log))
    directory = log_directory(flow_log_dir, info.vpc.owner, info.vpc.id, info.log.id)
    lines = read_lines(directory, host)
    if output != "table":
        show_value([dict(zip(info.log.format, line.split(), strict=False)) for line in lines], output)
        return
    click.echo(" ".join(info.log.format))
    for line in lines:
        click.echo(line)
