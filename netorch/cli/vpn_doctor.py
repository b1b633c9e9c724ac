"""`netorch vpn doctor`."""

from __future__ import annotations

import click
import msgspec

from netorch.cli.context import Session, pass_session
from netorch.cli.nouns import resource_argument
from netorch.cli.output import MACHINE, output_option, show_value


@click.command("doctor")
@resource_argument("vpn", "VPN connection")
@output_option
@pass_session
@click.pass_context
def doctor_command(context: click.Context, session: Session, resource: str, output: str) -> None:
    """Diagnose a VPN connection.

    Checks IKE, ESP, BGP, routes and security groups. Names each problem and its fix.

    Exit codes: 0 packets can pass, 2 something is wrong.
    """
    from netorch.diagnose.vpn.facts import facts_of
    from netorch.diagnose.vpn.findings import BOTH, diagnose
    from netorch.model.outside.vpn import VpnConnection
    from netorch.records.read import read

    connection = read(session.store, session.caller, VpnConnection, session.id_of("vpn", resource))[1].record
    findings = diagnose(facts_of(session.store, connection))
    if output in MACHINE:
        show_value([msgspec.to_builtins(finding) for finding in findings], output)
    else:
        for finding in findings:
            where = connection.name if finding.tunnel == BOTH else f"tunnel {finding.tunnel}"
            click.echo(f"{click.style(where, fg='yellow' if finding.works else 'red')}: {finding.text}")
        wrong = {finding.tunnel for finding in findings if not finding.works}
        for number in range(1, len(connection.tunnels) + 1):
            if number not in wrong:
                click.echo(f"{click.style(f'tunnel {number}', fg='green')}: works")
    context.exit(2 if any(not finding.works for finding in findings) else 0)
