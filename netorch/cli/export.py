"""`netorch export`."""

from __future__ import annotations

import click

from netorch.cli.context import Session, pass_session


@click.command()
@pass_session
def command(session: Session) -> None:
    """Print the cloud as a vpc.yaml that `apply` takes."""
    from netorch.control.export import export_cloud
    from netorch.spec.export import to_yaml

    click.echo(to_yaml(export_cloud(session.store)), nl=False)
