"""`netorch vpn config` and `netorch vpn import`: configurations for a customer's device, and from AWS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from netorch.cli.context import Session, complete, pass_session, tag_option, warn
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
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="swanctl",
    show_default=True,
    help="The device or program to configure.",
)
@file_option("--psk-file", "psk_files", "A pre-shared key, in a file of one line; repeatable, tunnel 1 first.", multiple=True)
@pass_session
def config_command(session: Session, resource: str, form: str, psk_files: tuple[Path, ...]) -> None:
    """Print the configuration of the customer's device.

    swanctl is swanctl.conf of strongSwan, with devices and routes; bird and frr speak BGP over the tunnels; aws-xml is EC2's
    CustomerGatewayConfiguration, json what EC2 describes. Pre-shared keys are sealed for the edges and cannot be printed:
    pass the ones that `netorch vpn create` or `rotate` showed.

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
    """Warn about keys that are left out."""
    missing = [str(ends.number) for ends in facts.ends if ends.number not in keys]
    if not missing or facts.has_certificates or form in _WITHOUT_KEYS:
        return
    where = f"tunnel{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
    text = f"the pre-shared key of {where} is sealed and cannot be shown, so the output has a placeholder"
    warn(f"{text}; pass the key that was shown once with --psk-file, or create a new one: netorch vpn rotate")


@click.command("import")
@click.argument("file")
@output_option
@click.option("--vpc", help="The VPC; it needs a virtual private gateway.", shell_complete=complete("vpc"))
@click.option("--name", help="The name of the connection in netorch.")
@click.option(
    "--route", "routes", multiple=True, metavar="CIDR", help="A CIDR of the VPC at AWS, for a connection without BGP; repeatable."
)
@click.option("--dry-run", "is_only_shown", is_flag=True, help="Show the content of the file; create nothing.")
@tag_option
@pass_session
@click.pass_context
def import_command(
    context: click.Context,
    /,
    session: Session,
    file: str,
    output: str,
    vpc: str | None,
    name: str | None,
    routes: tuple[str, ...],
    is_only_shown: bool,
    tags: dict[str, str],
) -> None:
    """Connect a VPC to one at AWS.

    An edge becomes the customer gateway that AWS knows.

    FILE is the configuration that AWS offers for download: CustomerGatewayConfiguration as XML, or the text for strongSwan; -
    is standard input. The customer gateway at AWS has the address of an edge's uplink, and the AS number of the
    virtual private gateway here. Both tunnels end at that edge. Pre-shared keys are sealed for it and not shown.

    Example: aws ec2 describe-vpn-connections --query 'VpnConnections[0].CustomerGatewayConfiguration' --output text |
    netorch vpn import - --vpc shop --name aws
    """
    from netorch.cli.commands.vpn import NOUN
    from netorch.control.actions.private.imports import import_vpn_connection
    from netorch.control.base.routes import find_target
    from netorch.model.routing.target import TargetKind
    from netorch.spec.load import read_file
    from netorch.spec.vpn_config.strongswan_text import read_configuration

    connection, keys = read_configuration(file, read_file(file))
    if is_only_shown:
        _show_imported(connection, output)
        return
    if vpc is None or name is None:
        raise click.UsageError("name the VPC and the connection: --vpc VPC --name NAME", context)
    gateway = find_target(session.store, session.caller, session.find("vpc", vpc)[1], TargetKind.VPN_GATEWAY, "")
    made = import_vpn_connection(session.store, session.caller, gateway, connection, keys, name=name, routes=routes, tags=tags)
    NOUN.show(session, made.id, output)


def _show_imported(connection: ImportedConnection, output: str) -> None:
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
