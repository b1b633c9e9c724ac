"""`netorch export`."""

from __future__ import annotations

import click

from netorch.cli.context import Session, pass_session, warn


@click.command()
@pass_session
@click.pass_context
def command(context: click.Context, session: Session) -> None:
    """Print the cloud as a vpc.yaml for `apply`; with --owner, only the customer's own VPCs.

    Exit codes: 0 complete, 2 something is left out, because it is unreadable or vpc.yaml cannot express it.
    """
    from netorch.control.views.export import export_inventory
    from netorch.control.views.unsaid import unsaid
    from netorch.spec.export import to_yaml

    inventory = session.inventory()
    click.echo(to_yaml(export_inventory(inventory, session.caller)), nl=False)
    missing = list(unsaid(inventory, session.caller))
    for text in missing:
        warn(text)
    context.exit(2 if missing or session.left_out(inventory) else 0)
