"""`netorch vpn`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from netorch.cli.context import Session, action, complete, pass_session, tag_option, vpc_option
from netorch.cli.nouns import Actions, Noun, Rules, add_common, add_rule_list, resource_argument
from netorch.cli.output import MACHINE, Columns, output_option, show_record, show_rows
from netorch.cli.tunnels import changed_options, file_option, key_of, text_of, tunnel_options
from netorch.cli.vpn_config import config_command, import_command
from netorch.cli.vpn_doctor import doctor_command
from netorch.model.outside.vpn import TunnelOptions, leads_to_aws

if TYPE_CHECKING:
    from netorch.control.actions.private.wishes import TunnelWish
    from netorch.control.views.vpn import TunnelInfo, VpnInfo
    from netorch.model.outside.secrets import Secret

COLUMNS = Columns(
    ("name", "vpc", "customer_gateway", "address", "far_side", "routing", "state", "up"),
    ("identity", "asn", "routes", "edges", "tags", "id"),
)
STATUS_COLUMNS = ("vpn", "tunnel", "status", "ike", "child_sa", "bytes_in", "bytes_out", "bgp", "routes", "far_side", "message")


@click.group()
def command() -> None:
    """VPN connections: each has two IPsec tunnels between a VPC's virtual private gateway and a customer's device."""


def row(info: VpnInfo) -> dict[str, Any]:
    """Return a VPN connection as it is shown."""
    connection = msgspec.structs.asdict(info.connection)
    del connection["certificates"]
    up = sum(tunnel.status.value == "UP" for tunnel in info.tunnels)
    return {
        **connection,
        "vpc": f"{info.vpc.owner}/{info.vpc.name}",
        "authentication": info.connection.authentication.value,
        "far_side": far_side(info),
        "routing": "static" if info.connection.static else "bgp",
        "state": info.state.value,
        "up": f"{up} of {len(info.tunnels)}",
        "edges": [tunnel.tunnel.edge for tunnel in info.tunnels],
        "tunnels": tunnel_rows(info),
    }


def far_side(info: VpnInfo) -> str:
    """Return whose the other end is."""
    return "AWS" if leads_to_aws(info.connection) else "customer"


def tunnel_rows(info: VpnInfo) -> list[dict[str, Any]]:
    """Return a connection's tunnels, as EC2 does in VgwTelemetry and TunnelOptions."""
    return [
        {
            "tunnel": tunnel.number,
            "address": tunnel.tunnel.address,
            "remote": tunnel.tunnel.remote or info.connection.address,
            "inside_cidr": tunnel.tunnel.inside_cidr,
            "status": tunnel.status.value,
            "message": tunnel.message,
            "problem": tunnel.problem,
            "accepted_routes": tunnel.said.accepted if tunnel.said is not None else 0,
            "has_secret": tunnel.has_secret,
            "certificate": info.connection.certificates.get(tunnel.tunnel.edge, ""),
            "options": msgspec.to_builtins(_all_options(tunnel.tunnel.options)),
        }
        for tunnel in info.tunnels
    ]


def _all_options(options: TunnelOptions) -> dict[str, Any]:
    """Return all options of a tunnel, those that have EC2's default, too."""
    return msgspec.structs.asdict(options)


def option_rows(info: VpnInfo) -> list[dict[str, Any]]:
    """Return the options of both tunnels beside each other."""
    first, second = (msgspec.to_builtins(_all_options(tunnel.tunnel.options)) for tunnel in info.tunnels)
    return [{"option": name, "tunnel_1": first[name], "tunnel_2": second[name]} for name in first]


def route_rows(info: VpnInfo) -> list[dict[str, Any]]:
    """Return a connection's static routes."""
    return [{"destination": route} for route in info.connection.routes]


def _actions() -> Actions:
    from netorch.control.actions.private.connections import delete_vpn_connection
    from netorch.control.views.vpn import describe_vpn_connection, describe_vpn_connections

    return Actions(describe_vpn_connections, describe_vpn_connection, delete_vpn_connection)


TUNNELS = Rules(
    ("tunnel", "address", "remote", "inside_cidr", "status", "message", "accepted_routes"),
    tunnel_rows,
    counted=(),
    hidden=("tunnels", "up"),
    called="tunnels",
)
OPTIONS = Rules(("option", "tunnel_1", "tunnel_2"), option_rows, counted=(), hidden=(), called="options")
ROUTES = Rules(("destination",), route_rows, counted=(), hidden=(), called="static routes")
NOUN = Noun("vpn", "VPN connection", COLUMNS, row, _actions, (TUNNELS, OPTIONS), operators=("edges",))
add_common(command, NOUN, "Delete VPN connections, with their secrets.")

for more in (config_command, import_command, doctor_command):
    command.add_command(more)

tunnel_option = click.option("--tunnel", type=click.IntRange(1, 2), help="Which of the two tunnels.")
psk_help = "The pre-shared key, in a file of one line. Default: generated, and shown once."


@command.command()
@click.argument("name")
@click.option("--vpc", required=True, help="The VPC; it needs a virtual private gateway.", shell_complete=complete("vpc"))
@click.option("--customer-gateway", required=True, help="The customer gateway.", shell_complete=complete("cgw"))
@click.option("--static", is_flag=True, help="Static routes instead of BGP.")
@click.option(
    "--route", "routes", multiple=True, metavar="CIDR", help="A network at the customer's site, with --static; repeatable."
)
@click.option(
    "--local-cidr", default="0.0.0.0/0", show_default=True, help="Networks on the customer's side that may use the tunnels."
)
@click.option(
    "--remote-cidr", default="0.0.0.0/0", show_default=True, help="Networks on the VPC's side that may use the tunnels."
)
@click.option("--inside-cidr", "inside_cidrs", multiple=True, metavar="CIDR", help="A tunnel's /30; repeatable, tunnel 1 first.")
@file_option("--psk-file", "psk_files", f"{psk_help} Repeatable, tunnel 1 first.", multiple=True)
@file_option("--authority", "authority", "Use certificates: the CA certificate that signs the customer's, PEM.")
@file_option("--certificate", "certificates", "The edge's certificate, PEM; repeatable, tunnel 1 first.", multiple=True)
@file_option("--private-key", "private_keys", "The private key of --certificate, PEM; repeatable.", multiple=True)
@tunnel_options
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    vpc: str,
    customer_gateway: str,
    static: bool,
    routes: tuple[str, ...],
    local_cidr: str,
    remote_cidr: str,
    authority: Path | None,
    tags: dict[str, str],
    output: str,
    **chosen: Any,  # noqa: ANN401 - what the tunnels are to be
) -> None:
    """Create a VPN connection to a customer gateway.

    The options apply to both tunnels; `netorch vpn modify` changes one. Generated pre-shared keys are shown once: the store
    holds them encrypted, and only the edges can decrypt them.
    """
    from netorch.control.actions.private.connections import Wanted, create_vpn_connection
    from netorch.control.base.routes import find_target
    from netorch.model.routing.target import TargetKind

    found = session.find("vpc", vpc)[1]
    (device,) = session.ids_of("cgw", [customer_gateway])
    wanted = Wanted(
        name=name,
        static=static,
        routes=routes,
        local_cidr=local_cidr,
        remote_cidr=remote_cidr,
        authority=text_of(authority) if authority is not None else "",
        tunnels=_wishes(chosen),
        tags=tags,
    )
    gateway = find_target(session.store, session.caller, found, TargetKind.VPN_GATEWAY, "")
    made, keys = create_vpn_connection(session.store, session.caller, gateway, device, wanted)
    _show_made(session, made.id, keys, output)


def _wishes(chosen: dict[str, Any]) -> tuple[TunnelWish, ...]:
    """Return what both tunnels are to be; `chosen` is taken apart."""
    from netorch.control.actions.private.wishes import TunnelWish
    from netorch.model.outside.secrets import Secret

    inside, psks, certificates, private = (
        chosen.pop(field) for field in ("inside_cidrs", "psk_files", "certificates", "private_keys")
    )
    options = changed_options(TunnelOptions(), chosen)
    secrets = [Secret(psk=key_of(path)) for path in psks] or [Secret(key=text_of(path)) for path in private]
    texts = [text_of(path) for path in certificates]
    rows = list(zip_longest(inside, secrets, texts))
    rows += [(None, None, None)] * (2 - len(rows))
    return tuple(
        TunnelWish(inside_cidr=cidr or "", options=options, secret=secret, certificate=text or "") for cidr, secret, text in rows
    )


def _show_made(session: Session, vpn_id: str, keys: dict[int, Secret], output: str) -> None:
    """Print a connection, and the pre-shared keys that were made for it: nobody can read them later."""
    shown = {str(tunnel): secret.psk for tunnel, secret in sorted(keys.items())}
    if output in MACHINE:
        show_record({**row(NOUN.actions().one(session.store, session.caller, vpn_id)), "pre_shared_keys": shown}, output)
        return
    NOUN.show(session, vpn_id, output)
    if shown:
        click.echo("\nNew pre-shared keys, shown only now:")
    for tunnel, psk in shown.items():
        click.echo(f"tunnel {tunnel}  {psk}")


@command.command()
@resource_argument("vpn", "VPN connection")
@tunnel_option
@click.option("--inside-cidr", default="", metavar="CIDR", help="The tunnel's /30 inside.")
@tunnel_options
@click.option("--local-cidr", help="Networks on the customer's side that may use the tunnels.")
@click.option("--remote-cidr", help="Networks on the VPC's side that may use the tunnels.")
@output_option
@action
@click.pass_context
def modify(
    context: click.Context,
    /,
    session: Session,
    resource: str,
    tunnel: int | None,
    inside_cidr: str,
    local_cidr: str | None,
    remote_cidr: str | None,
    output: str,
    **chosen: Any,  # noqa: ANN401 - options of the tunnel
) -> None:
    """Change the options of a tunnel, or both ends' networks.

    The tunnel is renegotiated.

    Meanwhile the other tunnel carries traffic, if it is up.
    """
    from netorch.control.actions.private.changes import modify_networks, modify_tunnel

    of_tunnel = bool(inside_cidr) or any(value not in (None, ()) for value in chosen.values())
    if of_tunnel and tunnel is None:
        raise click.UsageError("name the tunnel: --tunnel 1 or --tunnel 2", context)
    if not of_tunnel and local_cidr is None and remote_cidr is None:
        raise click.UsageError("name at least one option to change", context)
    vpn_id = session.id_of("vpn", resource)
    if local_cidr is not None or remote_cidr is not None:
        modify_networks(session.store, session.caller, vpn_id, local_cidr=local_cidr, remote_cidr=remote_cidr)
    if of_tunnel and tunnel is not None:
        modify_tunnel(
            session.store,
            session.caller,
            vpn_id,
            tunnel,
            inside_cidr=inside_cidr,
            options=lambda before: changed_options(before, chosen),
        )
    NOUN.show(session, vpn_id, output)


@command.command()
@resource_argument("vpn", "VPN connection")
@click.option("--tunnel", type=click.IntRange(1, 2), required=True, help="Which of the two tunnels.")
@file_option("--psk-file", "psk_file", psk_help)
@file_option("--certificate", "certificate", "The edge's new certificate, PEM.")
@file_option("--private-key", "private_key", "Its private key, PEM.")
@output_option
@action
def rotate(
    session: Session,
    resource: str,
    tunnel: int,
    psk_file: Path | None,
    certificate: Path | None,
    private_key: Path | None,
    output: str,
) -> None:
    """Replace a tunnel's pre-shared key or certificate.

    An established tunnel stays up. The customer's device needs the new key before the next negotiation.
    """
    from netorch.control.actions.private.changes import rotate_secret
    from netorch.model.outside.secrets import Secret

    vpn_id = session.id_of("vpn", resource)
    secret = Secret(psk=key_of(psk_file)) if psk_file is not None else None
    if private_key is not None:
        secret = Secret(key=text_of(private_key))
    text = text_of(certificate) if certificate is not None else ""
    _, made = rotate_secret(session.store, session.caller, vpn_id, tunnel, secret=secret, certificate=text)
    _show_made(session, vpn_id, {tunnel: made} if made is not None else {}, output)


@command.group()
def route() -> None:
    """Static routes of VPN connections that do not use BGP."""


add_rule_list(route, NOUN, ROUTES)
cidr_argument = click.argument("cidr")


@route.command()
@resource_argument("vpn", "VPN connection")
@cidr_argument
@action
def add(session: Session, resource: str, cidr: str) -> None:
    """Add a static route to a VPN connection."""
    from netorch.control.actions.private.changes import create_static_route

    changed = create_static_route(session.store, session.caller, session.id_of("vpn", resource), cidr)
    click.echo(f"{changed.id} leads to {' '.join(changed.routes)}")


@route.command()
@resource_argument("vpn", "VPN connection")
@cidr_argument
@action
def delete(session: Session, resource: str, cidr: str) -> None:
    """Delete a static route from a VPN connection."""
    from netorch.control.actions.private.changes import delete_static_route

    changed = delete_static_route(session.store, session.caller, session.id_of("vpn", resource), cidr)
    click.echo(f"{changed.id} leads to {' '.join(changed.routes) or 'nothing'}")


@command.command()
@click.argument("resources", metavar="[VPN_CONNECTION]...", nargs=-1, shell_complete=complete("vpn"))
@vpc_option
@output_option
@pass_session
@click.pass_context
def status(context: click.Context, session: Session, resources: Sequence[str], vpc: str | None, output: str) -> None:
    """Show the state of tunnels.

    Shows the named connections, or all.

    Exit codes: 0 all tunnels are up, 2 one is down.
    """
    actions = NOUN.actions()
    if resources:
        infos = [actions.one(session.store, session.caller, found) for found in session.ids_of("vpn", resources)]
    else:
        infos = session.of_vpcs(vpc, actions.every)
    rows = [status_row(info, tunnel) for info in infos for tunnel in info.tunnels]
    show_rows(rows, STATUS_COLUMNS, output)
    context.exit(2 if any(one["status"] != "UP" for one in rows) else 0)


def status_row(info: VpnInfo, tunnel: TunnelInfo) -> dict[str, Any]:
    """Return what an edge says of a tunnel, as it is shown."""
    said = tunnel.said
    return {
        "vpn": f"{info.vpc.owner}/{info.vpc.name}/{info.connection.name}",
        "id": info.connection.id,
        "tunnel": tunnel.number,
        "far_side": far_side(info),
        "status": tunnel.status.value,
        "ike": said.ike if said is not None else "",
        "child_sa": said.child if said is not None else "",
        "remote": said.remote if said is not None else "",
        "proposal": said.proposal if said is not None else "",
        "since": said.since if said is not None else 0.0,
        "bytes_in": said.bytes_in if said is not None else 0,
        "bytes_out": said.bytes_out if said is not None else 0,
        "packets_in": said.packets_in if said is not None else 0,
        "packets_out": said.packets_out if said is not None else 0,
        "bgp": said.bgp if said is not None else "",
        "bgp_reason": said.bgp_reason if said is not None else "",
        "routes": said.accepted if said is not None else 0,
        "message": f"{tunnel.message}: {tunnel.problem}" if tunnel.problem else tunnel.message,
    }
