"""`netorch plan`."""

from __future__ import annotations

from pathlib import Path

import click

from netorch.cli.context import Session, pass_session
from netorch.cli.output import output_option, show_value
from netorch.cli.planning import file_option, make_plan, plan_value, read_cloud, save_plan, show_plan, stuck_error


@click.command()
@file_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Save the plan; `netorch apply FILE` then applies exactly this plan, or nothing.",
)
@output_option
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, path: Path, out: Path | None, output: str) -> None:
    """Show what `apply` would change. Changes nothing.

    Exit codes: 0 no changes, 2 changes, 1 a VPC cannot be built as declared.
    """
    cloud = read_cloud(session, path)
    plan = make_plan(session, path, cloud)
    if out is not None:
        save_plan(session, plan, path, cloud, out)
    if output == "table":
        show_plan(plan)
    else:
        show_value(plan_value(plan), output)
    if plan.stuck:
        raise stuck_error(plan)
    context.exit(2 if plan.changes else 0)
