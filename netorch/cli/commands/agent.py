"""`netorch agent run`."""

from __future__ import annotations

from pathlib import Path

import click

from netorch.cli.context import Session, flow_log_option, host_option, pass_session
from netorch.cli.settings import default_of


@click.group()
def command() -> None:
    """This host's agent."""


@command.command()
@host_option
@click.option(
    "--state-dir",
    envvar="NETORCH_STATE_DIR",
    show_envvar=True,
    type=click.Path(path_type=Path),
    default=default_of("state_dir"),
    show_default="/var/lib/netorch",
    help="Directory of the lock and of the snapshot, which the agent uses while the store is unreachable.",
)
@flow_log_option
@click.option("-v", "--verbose", is_flag=True, help="Log each operation.")
@pass_session
def run(session: Session, host: str, state_dir: Path, flow_log_dir: Path, verbose: bool) -> None:
    """Keep this host's kernel in the state that the store declares, until SIGTERM.

    Runs in the network namespace of the underlay address. When the agent ends, the kernel keeps everything.
    """
    from netorch.agent.main import run_agent

    run_agent(host, session.store_url, state_dir, flow_log_dir, verbose)
