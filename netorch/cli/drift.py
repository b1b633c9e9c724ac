"""`netorch drift`."""

from __future__ import annotations

import click

from netorch.cli.context import Session, host_option, pass_session
from netorch.cli.output import output_option, show_value


@click.command()
@host_option
@output_option
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, host: str, output: str) -> None:
    """Show how this host's kernel differs from what it should hold, as the operations that would repair it.

    Changes nothing: a running agent repairs by itself within a second. Runs in the host's own network namespace; in a lab:

    \b
    netorch lab exec --node HOST LAB -- netorch drift

    Exit codes: 0 no drift, 2 some.
    """
    from netorch.diagnose.drift import pending_operations
    from netorch.plan.explain import op_text

    session.operator_only("drift")
    lines = [op_text(op) for op in pending_operations(host, session.store)]
    if output != "table":
        show_value({"host": host, "operations": lines}, output)
    else:
        click.echo("\n".join(lines) if lines else f"host {host}: no drift")
    context.exit(2 if lines else 0)
