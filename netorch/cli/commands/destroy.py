"""`netorch destroy`."""

from __future__ import annotations

from pathlib import Path

import click

from netorch.cli.context import Session, action, complete


@click.command()
@click.argument("vpcs", nargs=-1, metavar="[VPC]...", shell_complete=complete("vpc"))
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), help="Everything that this file created.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@action
@click.pass_context
def command(context: click.Context, session: Session, vpcs: tuple[str, ...], path: Path | None, yes: bool) -> None:
    """Delete VPCs with everything in them: the named ones, or all that a file created.

    This includes elastic IPs and top-level instances. Declared resources that the file did not create stay, as do hosts and
    address pools. At a terminal it asks; in a script it does not.
    """
    from netorch.cli.asking import confirm
    from netorch.cli.planning import show_plan, source_path
    from netorch.control.apply.cloud import apply_cloud, plan_cloud, plan_destruction
    from netorch.model.cloud import Cloud
    from netorch.spec import load_cloud

    if bool(vpcs) == (path is not None):
        raise click.UsageError("name VPCs, or a file with --file", context)
    if path is not None:
        nothing = Cloud(name=load_cloud(path).name)
        plan = plan_cloud(session.store, session.caller, nothing, source=source_path(path))
    else:
        plan = plan_destruction(session.store, session.caller, [session.id_of("vpc", vpc) for vpc in vpcs])
    if not plan.changes:
        click.echo("Nothing to delete: nothing that the file created still exists.")
        return
    show_plan(plan, whole=False)
    if not yes and not session.dry_run:
        confirm("All of this will be deleted. Continue?", from_stdin=str(path) == "-")
    done = apply_cloud(session.store, plan, allow_mass_delete=True)
    click.echo(f"Deleted in {done} transaction{'s' if done != 1 else ''}.")
