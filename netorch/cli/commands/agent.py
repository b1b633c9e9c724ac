"""`netorch agent`: what runs on each host."""

from __future__ import annotations

from pathlib import Path

import click

from netorch.cli.context import Session, flow_log_option, host_option, pass_session, setting_option, state_option
from netorch.cli.settings import SETTINGS

log_option = setting_option(
    "log_format", "Log format: text, or one JSON object per line.", type=click.Choice(SETTINGS["log_format"].choices)
)


@click.group()
def command() -> None:
    """This host's agent."""


@command.command()
@host_option
@state_option
@flow_log_option
@log_option
@setting_option("metrics", "Serve Prometheus metrics at this HOST:PORT or unix:PATH; off serves none.")
@click.option("-v", "--verbose", is_flag=True, help="Log each operation.")
@pass_session
def run(session: Session, host: str, state_dir: Path, flow_log_dir: Path, log_format: str, metrics: str, verbose: bool) -> None:
    """Keep this host's kernel in the state that the store declares, until SIGTERM.

    Runs in the network namespace of the underlay address. When the agent ends, the kernel keeps everything. The agent notifies
    systemd when it has started, and then that it is alive (Type=notify, WatchdogSec).
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

    Uses no store, deletes nothing, and does nothing on a host that has its overlay namespace. With a damaged snapshot it leaves
    the kernel empty, so the host carries nothing.

    Exit codes: 0 done, or nothing to do; 2 done except for the VPCs that are named; 1 nothing was restored.
    """
    from netorch.agent.main import restore_host
    from netorch.agent.service.logs import log_as

    log_as(log_format, verbose=False)
    problems = restore_host(host, state_dir)
    for vni, problem in sorted(problems.items()):
        click.echo(f"VNI {vni} was not restored: {problem}", err=True)
    context.exit(2 if problems else 0)
