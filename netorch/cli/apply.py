"""`netorch apply`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from netorch.cli.context import Session, pass_session
from netorch.cli.planning import file_option, make_plan, show_plan, stuck_error
from netorch.errors import NetorchError

POLL_S = 0.05


@click.command()
@file_option
@click.option("--yes", is_flag=True, help="Do not ask, even when something is deleted.")
@click.option("--allow-mass-delete", is_flag=True, help="Permit a plan that ends more than half of the file's VPCs or instances.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the hosts have done it.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS")
@pass_session
def command(session: Session, path: Path, yes: bool, allow_mass_delete: bool, wait: bool, timeout: float) -> None:
    """Make the cloud what a file says. What the file's VPCs hold and the file does not name is deleted.

    A VPC that cannot be made as the file says stays as it is; the others follow the file, and the exit code is 1.

    On a terminal it asks before anything is deleted or replaced; in a script it does not.
    """
    from netorch.control.changes import Action
    from netorch.control.cloud import apply_cloud

    plan = make_plan(session, path)
    show_plan(plan)
    if not plan.changes:
        return
    losses = plan.counts()[Action.DELETE] + plan.counts()[Action.REPLACE]
    if losses and not yes and sys.stdin.isatty():
        click.confirm(f"{losses} resource{'s' if losses != 1 else ''} will be deleted or replaced. Go on?", abort=True)
    done = apply_cloud(session.store, plan, _progress("committing"), allow_mass_delete=allow_mass_delete)
    click.echo(f"Applied in {done} transaction{'s' if done != 1 else ''}.")
    if wait and plan.hosts:
        _wait(session, timeout)
    if plan.stuck:
        raise stuck_error(plan)


def _progress(what: str) -> Callable[[int, int], None]:
    """Return a callback that keeps one line on a terminal up to date, after the first second."""
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - started > 1.0):
            click.echo(f"\r{what} {done}/{total}" + ("\n" if done == total else ""), nl=False, err=True)

    return show


def _wait(session: Session, timeout_s: float) -> None:
    """Wait until every living host says that its interfaces are attached. Raises NetorchError when time is over."""
    from netorch.control.describe import InstanceState, describe_instances

    end = time.monotonic() + timeout_s
    show = _progress("hosts attaching")
    while True:
        inventory = session.inventory()
        carried = [info for info in describe_instances(inventory, session.caller) if info.host]
        live = {name for name, state in inventory.hosts.items() if state.live}
        silent = sorted({info.host for info in carried} - live)
        waiting = [info for info in carried if info.state is not InstanceState.RUNNING and info.host not in silent]
        show(len(carried) - len(waiting), len(carried))
        if not waiting:
            break
        if time.monotonic() > end:
            first = waiting[0]
            name = f"{first.vpc.name}/{first.instance.name} on {first.host}, {first.state.value}"
            reason = f": {first.reason}" if first.reason else ""
            late = f"{len(waiting)} of {len(carried)} instances are not running after {timeout_s:g} s"
            raise NetorchError(f"{late}; the first is {name}{reason}; see `netorch status`")
        time.sleep(POLL_S)
    click.echo(f"{len(carried) - sum(info.host in silent for info in carried)} instances run.")
    if silent:
        click.echo(f"No agent runs on {' '.join(silent)}; their instances follow when it does.", err=True)
