"""`netorch ping`: layer by layer, so that the answer says where it fails."""

from __future__ import annotations

import click

from netorch.cli.called import as_called
from netorch.cli.context import Session, complete, pass_session
from netorch.cli.output import output_option, show_value


@click.command()
@click.argument("source", shell_complete=complete("i"))
@click.argument("destination", shell_complete=complete("i"))
@click.option("-6", "ipv6", is_flag=True, help="Ping the IPv6 address.")
@click.option("-c", "--count", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--timeout", type=float, default=1.0, show_default=True, metavar="SECONDS", help="For each echo.")
@output_option
@pass_session
@click.pass_context
def command(
    context: click.Context, session: Session, source: str, destination: str, ipv6: bool, count: int, timeout: float, output: str
) -> None:
    """Ping from one instance to another: mapping, underlay, gateway, overlay. Runs on the source's host, or in a lab.

    Exit codes: 0 reachable, 2 not.
    """
    from netorch.diagnose.layers import probe_layers

    inventory = session.neighbourhood([("i", source), ("i", destination)])
    layers = probe_layers(
        inventory, session.caller, source, destination, version=6 if ipv6 else 4, count=count, timeout_s=timeout
    )
    good = all(layer.ok for layer in layers)
    if output != "table":
        show_value({"reachable": good, "layers": layers}, output)
    else:
        for layer in layers:
            sign = click.style("ok  ", fg="green") if layer.ok else click.style("FAIL", fg="red")
            click.echo(f"{sign} {layer.name:<9} {layer.text}")
        if not good:
            advice = next(layer for layer in layers if not layer.ok).advice
            click.echo(f"NOT REACHABLE: {as_called(advice)}", err=True)
    context.exit(0 if good else 2)
