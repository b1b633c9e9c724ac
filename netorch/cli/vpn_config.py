"""`netorch vpn config` and `netorch vpn import`: what a customer's device is to be told, and what AWS tells its customers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from netorch.cli.context import Session, pass_session, warn
from netorch.cli.nouns import resource_argument
from netorch.cli.output import MACHINE, output_option, show_record, show_rows, show_value
from netorch.cli.tunnels import file_option, key_of

if TYPE_CHECKING:
    from netorch.spec.vpn_config.facts import Facts
    from netorch.spec.vpn_config.imported import ImportedConnection

FORMATS: Final = ("swanctl", "bird", "frr", "aws-xml", "json")  # those of netorch.spec.vpn_config.formats
_WITHOUT_KEYS: Final = ("bird", "frr")
_TUNNEL_COLUMNS: Final = (
    "tunnel",
    "remote_address",
    "inside_address",
    "remote_inside_address",
    "phase1",
    "phase2",
    "dpd_timeout",
)


@click.command("config")
@resource_argument("vpn", "VPN connection")
@click.option("--format", "form", type=click.Choice(FORMATS), default="swanctl", show_default=True, help="For which program.")
@file_option("--psk-file", "psk_files", "A pre-shared key, in a file of one line; repeatable, tunnel 1 first.", multiple=True)
@pass_session
def config_command(session: Session, resource: str, form: str, psk_files: tuple[Path, ...]) -> None:
    """Print the configuration of the customer's device.

    swanctl is swanctl.conf of strongSwan, with devices and routes; bird and frr speak BGP over the tunnels; aws-xml is EC2's
    CustomerGatewayConfiguration, json what EC2 describes. Pre-shared keys are sealed for the edges, so nobody can print them:
    give those that `netorch vpn create` or `rotate` showed.

    Example: netorch vpn config office --format swanctl --psk-file tunnel1.key --psk-file tunnel2.key > office.conf
    """
    from netorch.control.views.vpn_config import customer_facts
    from netorch.spec.vpn_config.formats import FORMATS as WRITERS

    facts = customer_facts(session.store, session.caller, session.id_of("vpn", resource))
    keys = _keys(psk_files)
    text = WRITERS[form](facts, keys)
    _warn_of_keys(facts, keys, form)
    click.echo(text, nl=False)


def _keys(files: tuple[Path, ...]) -> dict[int, str]:
    """Return the keys in files, by tunnel."""
    from netorch.model.outside.vpn import TUNNELS
    from netorch.model.outside.vpn_rules import psk

    if len(files) > TUNNELS:
        raise click.BadParameter(f"{len(files)} files are given; a connection has {TUNNELS} tunnels", param_hint="--psk-file")
    keys = {number: key_of(path) for number, path in enumerate(files, 1)}
    for number, path in enumerate(files, 1):
        violation = psk(keys[number])
        if violation is not None:
            raise click.BadParameter(f"{path}: {violation.what}; {violation.fix}", param_hint="--psk-file")
    return keys


def _warn_of_keys(facts: Facts, keys: dict[int, str], form: str) -> None:
    """Tell which keys are left out."""
    missing = [str(ends.number) for ends in facts.ends if ends.number not in keys]
    if not missing or facts.has_certificates or form in _WITHOUT_KEYS:
        return
    where = f"tunnel{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
    text = f"the pre-shared key of {where} is sealed and cannot be shown, so a placeholder stands for it"
    warn(f"{text}; give the one that was shown once with --psk-file, or make another: netorch vpn rotate")


@click.command("import")
@click.argument("file")
@output_option
@click.option("--dry-run", "is_only_shown", is_flag=True, help="Show what the file says, and create nothing.")
def import_command(file: str, output: str, is_only_shown: bool) -> None:
    """Read what AWS tells the customer of a VPN connection: its CustomerGatewayConfiguration.

    FILE is that XML, or AWS's text for strongSwan; - is standard input. Shown is what an edge needs to be the customer's end.
    Pre-shared keys are checked and not shown. Nothing can be created from it yet.

    Example: aws ec2 describe-vpn-connections --query 'VpnConnections[0].CustomerGatewayConfiguration' --output text |
    netorch vpn import - --dry-run
    """
    from netorch.errors import ApiError
    from netorch.spec.load import read_file
    from netorch.spec.vpn_config.strongswan_text import read_configuration

    connection, _ = read_configuration(file, read_file(file))
    if not is_only_shown:
        text = f"{connection.id}: an edge cannot be the customer's end yet, so nothing was created"
        raise ApiError("UnsupportedOperation", f"{text}; add --dry-run to see what the file says")
    record, tunnels = _imported_record(connection), _imported_tunnels(connection)
    if output in MACHINE:
        show_value({**record, "tunnels": tunnels}, output)
        return
    show_record(record, output)
    click.echo()
    show_rows(tunnels, _TUNNEL_COLUMNS, output)


def _imported_record(connection: ImportedConnection) -> dict[str, Any]:
    return {
        "id": connection.id,
        "customer_gateway": connection.customer_gateway,
        "gateway": connection.gateway,
        "address": connection.address,
        "asn": connection.asn,
        "remote_asn": connection.amazon_asn,
        "routing": "static" if connection.static else "bgp",
    }


def _imported_tunnels(connection: ImportedConnection) -> list[dict[str, Any]]:
    """Return the tunnels from the customer's side."""
    from netorch.model.outside.proposals import proposals
    from netorch.model.outside.vpn import inside_addresses

    return [
        {
            "tunnel": number,
            "remote_address": tunnel.address,
            "inside_address": inside_addresses(tunnel.inside_cidr)[1],
            "remote_inside_address": inside_addresses(tunnel.inside_cidr)[0],
            "phase1": ", ".join(proposals(tunnel.options, 1)),
            "phase2": ", ".join(proposals(tunnel.options, 2)),
            "dpd_timeout": tunnel.options.dpd_timeout,
        }
        for number, tunnel in enumerate(connection.tunnels, 1)
    ]
