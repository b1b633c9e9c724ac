"""`netorch doctor`."""

from __future__ import annotations

import click
import msgspec

from netorch.cli.output import output_option, print_table, show_value


@click.command()
@click.option(
    "--uplink", "uplinks", multiple=True, metavar="DEVICE", help="Also test whether this device can be the uplink of an edge."
)
@output_option
@click.pass_context
def command(context: click.Context, uplinks: tuple[str, ...], output: str) -> None:
    """Test each feature that netorch needs of this machine, in a throw-away namespace. Changes nothing.

    With --uplink also test what an edge needs: the device, and bird.

    Exit codes: 0 the machine can be a hypervisor (with --uplink: an edge), 2 something is missing.

    Example: netorch doctor --uplink eth2
    """
    from netorch.lab import probe_features
    from netorch.lab.flushes import flush_warnings
    from netorch.lab.uplinks import bird_warnings, uplink_features

    features = [*probe_features(), *(feature for device in uplinks for feature in uplink_features(device))]
    missing = [feature for feature in features if not feature.present]
    is_complete = all(feature.only_edges and not uplinks for feature in missing)
    if output != "table":
        show_value([msgspec.to_builtins(feature) for feature in features], output)
    else:
        rows = [[f.name, "yes" if f.present else "NO", f.why_needed] for f in features]
        print_table(("feature", "present", "needed for"), rows)
        for feature in missing:
            detail = f" ({feature.detail})" if feature.detail else ""
            click.echo(f"{click.style('missing', fg='red')} {feature.name}{detail}: {feature.what_to_do}")
        for warning in (*flush_warnings(), *(bird_warnings() if uplinks else ())):
            click.echo(f"{click.style('warning', fg='yellow')} {warning}")
        if is_complete:
            click.echo(
                click.style("this machine has all that netorch needs" + (" of a hypervisor" if missing else ""), fg="green")
            )
    context.exit(0 if is_complete else 2)
