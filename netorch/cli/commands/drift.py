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
    """Show how this host's kernel differs from the desired state, as the operations that would repair it.

    Foreign objects in the host's overlay namespace are shown, too; only you can remove them. Changes nothing:
    a running agent repairs drift within a second, or within a minute if the kernel sends no notification. Runs in the host's own
    network namespace; in a lab:

    \b
    netorch lab exec --node HOST LAB -- netorch drift

    Exit codes: 0 no drift, 2 drift.
    """
    from netorch.diagnose.host.drift import find_drift
    from netorch.plan.explain import op_text

    session.operator_only("drift")
    found = find_drift(host, session.store)
    lines = [op_text(op) for op in found.operations]
    if output != "table":
        show_value({"host": host, "operations": lines, "foreign": list(found.foreign)}, output)
    else:
        lines += (f"! {text}: not netorch's, so netorch leaves it alone; remove it if nothing needs it" for text in found.foreign)
        click.echo("\n".join(lines) if lines else f"host {host}: no drift")
    context.exit(2 if found.operations or found.foreign else 0)
