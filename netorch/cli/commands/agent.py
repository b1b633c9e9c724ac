"""`netorch agent`: what runs on each host."""

from __future__ import annotations

from pathlib import Path

import click

from netorch.cli.context import Session, flow_log_option, host_option, pass_session, setting_option
from netorch.cli.settings import SETTINGS

state_option = setting_option(
    "state_dir",
    "Directory of the lock and of the snapshot, which the agent uses while the store is unreachable.",
    type=click.Path(path_type=Path),
)
log_option = setting_option(
    "log_format", "Log lines for people, or JSON objects, one a line.", type=click.Choice(SETTINGS["log_format"].choices)
)


@click.group()
def command() -> None:
    """This host's agent."""


@command.command()
@host_option
@state_option
@flow_log_option
@log_option
@setting_option("metrics", "Serve Prometheus metrics at this HOST:PORT or unix:PATH; off: do not.")
@click.option("-v", "--verbose", is_flag=True, help="Log each operation.")
@pass_session
def run(session: Session, host: str, state_dir: Path, flow_log_dir: Path, log_format: str, metrics: str, verbose: bool) -> None:
    """Keep this host's kernel in the state that the store declares, until SIGTERM.

    Runs in the network namespace of the underlay address. When the agent ends, the kernel keeps everything. It tells systemd when
    it has started, and that it is alive (Type=notify, WatchdogSec).
    """
    from netorch.agent.main import run_agent
    from netorch.agent.service.logs import log_as

    log_as(log_format, verbose=verbose)
    run_agent(host, session.store_url, state_dir, flow_log_dir, metrics)


@command.command()
@host_option
@state_option
@log_option
@click.pass_context
def restore(context: click.Context, host: str, state_dir: Path, log_format: str) -> None:
    """At boot: bring the kernel into the state of the agent's last snapshot, before the network comes up.

    Asks no store, deletes nothing, and does nothing on a host that has been started already. A damaged snapshot leaves the kernel
    as it is, which carries nothing.

    Exit codes: 0 done, or nothing to do; 2 done, but for the VPCs that are named; 1 nothing is restored.
    """
    from netorch.agent.main import restore_host
    from netorch.agent.service.logs import log_as

    log_as(log_format, verbose=False)
    problems = restore_host(host, state_dir)
    for vni, problem in sorted(problems.items()):
        click.echo(f"VNI {vni} is not restored: {problem}", err=True)
    context.exit(2 if problems else 0)
