"""`netorch host`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from netorch.cli.context import Session, action, complete, pass_session, tag_option
from netorch.cli.identities import joining
from netorch.cli.nouns import Delete, add_delete, add_list, add_show, add_tagging
from netorch.cli.output import Columns, output_option, show_record, show_records
from netorch.errors import NetorchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netorch.control.actions.hosts import HostInfo

COLUMNS = Columns(("name", "role", "underlay", "pair", "live", "interfaces", "gateways"), ("uplink", "readiness", "tags"))

POLL_S = 0.25
UPLINK = "DEVICE,ADDRESS/LENGTH,GATEWAY"


@click.group()
@pass_session
def command(session: Session) -> None:
    """Hosts: the machines that run an agent."""
    session.operator_only("hosts")


def row(info: HostInfo) -> dict[str, Any]:
    """Return a host as it is shown."""
    return {
        **msgspec.structs.asdict(info.host),
        "role": info.host.role.value,
        "uplink": msgspec.to_builtins(info.host.uplink) or {},
        "live": info.live,
        "interfaces": info.interfaces,
        "gateways": info.gateways,
        "readiness": info.readiness,
    }


def _rows(session: Session, _vpc: str | None, _output: str) -> list[dict[str, Any]]:
    from netorch.control.actions.hosts import describe_hosts

    inventory = session.inventory()
    return [row(info) for info in describe_hosts(inventory.hosts, inventory.agents)]


def _show(session: Session, names: Sequence[str], output: str) -> None:
    from netorch.control.actions.hosts import describe_host

    show_records([row(describe_host(session.store, session.caller, name)) for name in names], output)


add_list(command, "List hosts.", COLUMNS, _rows, {"role": ("hypervisor", "edge"), "live": ("yes", "no")}, within_vpcs=False)
add_show(command, "host", "host", "Show hosts.", _show)
add_tagging(command, "host", "host")


@command.command()
@click.argument("name")
@click.option("--underlay", required=True, metavar="IP", help="The IPv4 address of its VTEP.")
@click.option("--role", type=click.Choice(["hypervisor", "edge"]), default="hypervisor", show_default=True)
@click.option("--pair", default="", help="The pair that the edge belongs to; with --role edge and --uplink.")
@click.option(
    "--uplink", default="", metavar=UPLINK, help="How an edge reaches the border router; append ,ADDRESS/LENGTH,GATEWAY for IPv6."
)
@click.option("--asn", type=int, default=0, metavar="NUMBER", help="The edge's AS number; with --gateway-asn it speaks BGP.")
@click.option("--gateway-asn", type=int, default=0, metavar="NUMBER", help="The border router's AS number.")
@tag_option
@output_option
@action
def create(
    session: Session,
    name: str,
    underlay: str,
    role: str,
    pair: str,
    uplink: str,
    asn: int,
    gateway_asn: int,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a host; then run `netorch agent run --host NAME` on it.

    An edge needs a pair and an uplink before it carries gateways; it takes the uplink's device over. The two edges of a pair
    carry the same gateways; one that joins later gets them before anything is sent to it. With AS numbers it announces the
    pair's address pools to the border router by BGP; without, the border router needs static routes. A password for the
    session goes in /etc/netorch/bgp-password on the edge.

    Example: netorch host create e1 --underlay 192.0.2.21 --role edge --pair west --uplink eth2,198.18.0.21/24,198.18.0.254
    """
    from netorch.control.actions.hosts import create_host, describe_host
    from netorch.model.eni import Role

    session.creates = True
    create_host(
        session.store,
        session.caller,
        name=name,
        underlay=underlay,
        role=Role(role),
        pair=pair,
        uplink=uplink,
        asn=asn,
        gateway_asn=gateway_asn,
        tags=tags,
    )
    show_record(row(describe_host(session.store, session.caller, name)), output)


@command.command()
@click.argument("edge", shell_complete=complete("host"))
@click.option("--pair", help="The pair to join, as a new edge does.")
@click.option("--uplink", metavar=UPLINK, help="The new uplink; append ,ADDRESS/LENGTH,GATEWAY for IPv6.")
@click.option("--asn", type=int, metavar="NUMBER", help="The edge's AS number; 0 with --gateway-asn 0: no BGP.")
@click.option("--gateway-asn", type=int, metavar="NUMBER", help="The border router's AS number.")
@output_option
@action
def update(
    session: Session, edge: str, pair: str | None, uplink: str | None, asn: int | None, gateway_asn: int | None, output: str
) -> None:
    """Change the uplink, AS numbers or pair of an edge.

    What is not given stays. An edge that carries gateways must be drained first, and stays drained: check its new uplink in
    `netorch status`, then undrain it. An edge that changes pairs leaves its gateways to its partner, gets those of the new
    pair, and is undrained.

    Example: netorch host update e1 --uplink bond0.100,198.18.0.21/24,198.18.0.254 --asn 64601 --gateway-asn 64512
    """
    from netorch.control.actions.hosts import describe_host
    from netorch.control.actions.outside.edges import update_edge

    update_edge(session.store, session.caller, edge, pair=pair, uplink=uplink, asn=asn, gateway_asn=gateway_asn)
    show_record(row(describe_host(session.store, session.caller, edge)), output)


@command.command()
@click.argument("edges", metavar="EDGE...", nargs=-1, required=True, shell_complete=complete("host"))
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until no host sends to them any more.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", help="With --wait.")
@action
def drain(session: Session, edges: tuple[str, ...], wait: bool, timeout: float) -> None:
    """Move traffic off edges, before maintenance.

    Hypervisors and, by BGP, the border router switch to the other edge of the pair within 2 s. Until then the drained edge
    keeps forwarding, so internet gateways lose nothing. NAT and egress-only gateways are first handed over with their
    connections, which takes some seconds; meanwhile they accept no new ones.

    If the edge's agent is not running, first make sure that its machine is off or unplugged: public addresses that were
    released meanwhile are given to others once it is drained.

    With --wait the command returns once no host sends to the edges any more, so that they can be stopped or changed; without
    it, watch LEFT BY in `netorch status`. If the border has static routes, change those first.

    Example: netorch host drain --wait e1
    """
    from netorch.control.actions.outside.drains import drain_host

    for name in edges:
        drain_host(session.store, session.caller, name)
        click.echo(f"{name}: is drained")
    if wait and not session.dry_run:
        _wait_until_left(session, edges, timeout)


def _wait_until_left(session: Session, edges: Sequence[str], timeout_s: float) -> None:
    """Wait until nobody sends to edges; say who does when that changes. Raises NetorchError when time is over."""
    from netorch.control.base.edge_users import users_of

    end, shown = time.monotonic() + timeout_s, ""
    while True:
        inventory = session.inventory()
        users = {name: users_of(inventory, name) for name in edges if name in inventory.hosts}
        left = [f"{name}: {', '.join(found)} may still send to it" for name, found in users.items() if found]
        if not left:
            click.echo("\n".join(f"{name}: no host sends to it any more" for name in users))
            return
        if time.monotonic() > end:
            dead = sorted({host for found in users.values() for host in found if not inventory.hosts[host].live})
            why = f"the agent of {', '.join(dead)} does not run, so its kernel goes on" if dead else "see netorch status"
            raise NetorchError(f"{'; '.join(left)} after {timeout_s:g} s; {why}. The edges stay drained")
        if "\n".join(left) != shown:
            shown = "\n".join(left)
            click.echo(shown, err=True)
        time.sleep(POLL_S)


@command.command()
@click.argument("edges", metavar="EDGE...", nargs=-1, required=True, shell_complete=complete("host"))
@action
def undrain(session: Session, edges: tuple[str, ...]) -> None:
    """Let hosts send to drained edges again.

    An edge that lacks gateways of its pair gets them first.
    """
    from netorch.control.actions.outside.drains import undrain_host

    for name in edges:
        undrain_host(session.store, session.caller, name)
        click.echo(f"{name}: is not drained")


def _delete() -> Delete:
    from netorch.control.actions.hosts import delete_host

    return delete_host


_DELETE: Final = "Delete hosts that carry nothing, or drained edges.\n\nThe partner of a deleted edge goes on alone."
add_delete(command, "host", "host", _DELETE, _delete)
for _each in (joining.token, joining.join, joining.revoke):
    command.add_command(_each)
