"""`netorch apply`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from netorch.cli.context import Session, action
from netorch.cli.output import output_option, show_value
from netorch.cli.planning import file_option, load_plan, make_plan, plan_value, read_cloud, show_plan, stuck_error
from netorch.errors import NetorchError

if TYPE_CHECKING:
    from netorch.control.apply.changes import CloudPlan
    from netorch.model.cloud import Cloud

POLL_S = 0.05
LATE_S = 20.0  # an agent on a busy machine may renew its lease late
Keys = dict[str, dict[str, str]]  # pre-shared keys, by the path of a VPN connection and the tunnel


@click.command()
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(path_type=Path))
@file_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation, even before deletions.")
@click.option(
    "--allow-mass-delete",
    is_flag=True,
    help="Permit a plan that ends more than half of the file's VPCs, instances, routes or elastic IPs, of ten or more. "
    "A smaller number needs no permission.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until every host has applied the change.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS")
@output_option
@action
@click.pass_context
def command(
    context: click.Context,
    session: Session,
    plan_file: Path | None,
    path: Path,
    yes: bool,
    allow_mass_delete: bool,
    wait: bool,
    timeout: float,
    output: str,
) -> None:
    """Apply a file. Resources of its VPCs that it does not declare are deleted.

    A VPC that cannot be built as declared stays as it is. The others are applied, and the exit status is 1.

    PLAN is a plan saved by `netorch plan --out`. It is applied exactly, or not at all if the cloud has changed since.

    At a terminal it asks before it deletes or replaces anything. In a script it does not ask.
    """
    if plan_file is not None and context.get_parameter_source("path") is ParameterSource.COMMANDLINE:
        raise click.UsageError("a saved plan contains its file; leave --file out", context)
    plans: list[CloudPlan] = []
    again = partial(_again, plans, session, path, read_cloud(session, path)) if plan_file is None else None
    plan = again() if again is not None else load_plan(session, plan_file or path)
    plans[:] = [plan]
    machine = output != "table"
    if not machine:
        show_plan(plan)
    done, waited = 0, Waited(0, [])
    keys: Keys = {}
    if plan.changes:
        if not yes and not session.dry_run:
            _ask_about_losses(plan, from_stdin=plan_file is None and str(path) == "-")
        done, keys = _carry_out(session, plans, again, allow_mass_delete=allow_mass_delete, machine=machine)
        if wait and plan.hosts and not session.dry_run:
            waited = _wait(session, plans[-1], timeout)
            _tell(waited, on_stdout=not machine)
    if machine:
        told = {"transactions": done, "running": waited.running, "silent_hosts": waited.silent, "pre_shared_keys": keys}
        show_value({**plan_value(plan), **told}, output)
    if plan.stuck:
        raise stuck_error(plan)


def _again(plans: list[CloudPlan], session: Session, path: Path, cloud: Cloud) -> CloudPlan:
    """Return one more plan of a file, and keep it: which one is carried out is seen by what there is then."""
    plans.append(make_plan(session, path, cloud))
    return plans[-1]


def _carry_out(
    session: Session, plans: list[CloudPlan], again: Callable[[], CloudPlan] | None, *, allow_mass_delete: bool, machine: bool
) -> tuple[int, Keys]:
    """Apply a plan; return how many transactions it took, and the keys that were made.

    These are shown also if something goes wrong behind them: nobody can read them later.
    """
    from netorch.control.apply.cloud import apply_cloud

    progress = _progress("committing")
    try:
        done = apply_cloud(session.store, plans[0], progress, allow_mass_delete=allow_mass_delete, again=again)
    except NetorchError:
        show_keys(made_keys(session, plans), err=machine)
        raise
    keys = made_keys(session, plans)
    if not machine:
        show_keys(keys)
        click.echo(f"Applied in {done} transaction{'s' if done != 1 else ''}.")
    return done, keys


def made_keys(session: Session, plans: Sequence[CloudPlan]) -> Keys:
    """Return the pre-shared keys that were made for the new VPN connections of plans that are there, by path and tunnel."""
    from netorch.records import keys

    made = [(vpn, one) for plan in plans for vpn, one in plan.made_keys.items()]
    there = [one for vpn, one in made if one.tunnels and session.store.get(keys.resource(vpn)) is not None]
    return {one.path: {str(tunnel): secret.psk for tunnel, secret in sorted(one.tunnels.items())} for one in there}


def show_keys(keys: Keys, *, err: bool = False) -> None:
    """Print pre-shared keys that were made."""
    if keys:
        click.echo("New pre-shared keys, shown only now:", err=err)
    for path, tunnels in keys.items():
        for tunnel, psk in tunnels.items():
            click.echo(f"  {path} tunnel {tunnel}  {psk}", err=err)


def _ask_about_losses(plan: CloudPlan, *, from_stdin: bool) -> None:
    from netorch.cli.asking import confirm
    from netorch.control.apply.changes import Action

    losses = plan.counts()[Action.DELETE] + plan.counts()[Action.REPLACE]
    if losses:
        question = f"{losses} resource{'s' if losses != 1 else ''} will be deleted or replaced. Continue?"
        confirm(question, from_stdin=from_stdin)


class Waited(NamedTuple):
    """What became of the instances: how many run, and which hosts have no agent that could tell."""

    running: int
    silent: list[str]


def _tell(waited: Waited, *, on_stdout: bool) -> None:
    if on_stdout:
        click.echo(f"{waited.running} instance{' is' if waited.running == 1 else 's are'} running.")
    if waited.silent:
        click.echo(f"No agent is running on {' '.join(waited.silent)}; their instances start when the agents do.", err=True)


def _progress(what: str) -> Callable[[int, int], None]:
    """Return a callback that keeps one line on a terminal up to date, after the first second."""
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - started > 1.0):
            click.echo(f"\r{what} {done}/{total}" + ("\n" if done == total else ""), nl=False, err=True)

    return show


def _wait(session: Session, plan: CloudPlan, timeout_s: float) -> Waited:
    """Wait until each living host of a plan says that its interfaces are attached. Raises NetorchError when time is over.

    A host whose agent has run is given up after LATE_S without one, a host that never had one at once.
    """
    from netorch.control.apply.waiting import PlannedInstances

    end = time.monotonic() + timeout_s
    show = _progress("hosts attaching")
    since: dict[str, float] = {}
    planned = PlannedInstances(session.store, session.caller, plan)
    while True:
        absent, now = planned.absent(), time.monotonic()
        since = {name: since.get(name, now) if has_run else now - LATE_S for name, has_run in absent.items()}
        given_up = {name for name, at in since.items() if now >= min(at + LATE_S, end)}
        waiting = planned.waiting(planned.hosts() - given_up)
        show(len(planned.found) - len(waiting), len(planned.found))
        if not waiting:
            return Waited(planned.running(absent), sorted(absent))
        if now > end:
            first = waiting[0]
            name = f"{first.vpc.name}/{first.instance.name} on {first.host}, {first.state.value}"
            reason = f": {first.reason}" if first.reason else ""
            late = f"{len(waiting)} of {len(planned.found)} instances are not running after {timeout_s:g} s"
            raise NetorchError(f"{late}; the first is {name}{reason}; see `netorch status`")
        time.sleep(POLL_S)
        planned.look_again()
