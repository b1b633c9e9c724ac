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

COLUMNS = Columns(
    ("name", "role", "underlay", "pair", "state", "interfaces", "gateways"), ("capacity", "live", "uplink", "readiness", "tags")
)

POLL_S = 0.25
# Of records.hosts, which is not imported to read a command line.
STATES = ("pending", "available", "under-assessment", "drained", "deleting")
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
        "state": info.state,
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


add_list(
    command,
    "List hosts.",
    COLUMNS,
    _rows,
    {"role": ("hypervisor", "edge"), "live": ("yes", "no"), "state": STATES},
    within_vpcs=False,
)
add_show(command, "host", "host", "Show hosts.", _show)
add_tagging(command, "host", "host")


@command.command()
@click.argument("name")
@click.option("--underlay", required=True, metavar="IP", help="The IPv4 address of its VTEP.")
@click.option("--role", type=click.Choice(["hypervisor", "edge"]), default="hypervisor", show_default=True)
@click.option("--pair", default="", help="The pair that the edge belongs to; needs --role edge and --uplink.")
@click.option(
    "--uplink", default="", metavar=UPLINK, help="How an edge reaches the border router; append ,ADDRESS/LENGTH,GATEWAY for IPv6."
)
@click.option("--asn", type=int, default=0, metavar="NUMBER", help="The edge's AS number; with --gateway-asn it speaks BGP.")
@click.option("--gateway-asn", type=int, default=0, metavar="NUMBER", help="The border router's AS number.")
@click.option(
    "--capacity", type=int, default=0, metavar="NUMBER", help="How many interfaces a hypervisor may carry; 0: any number."
)
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
    capacity: int,
    tags: dict[str, str],
    output: str,
) -> None:
    """Create a host.

    With etcd its machine then joins (`netorch host token`, `netorch host join`). Then start its agent, the service netorch-agent.

    An edge needs a pair and an uplink before it can carry gateways; it takes over the uplink's device. The two edges of a pair
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
        capacity=capacity,
        tags=tags,
    )
    show_record(row(describe_host(session.store, session.caller, name)), output)


@command.command()
@click.argument("host", shell_complete=complete("host"))
@click.option("--pair", help="The pair to join, as a new edge does.")
@click.option("--uplink", metavar=UPLINK, help="The new uplink; append ,ADDRESS/LENGTH,GATEWAY for IPv6.")
@click.option("--asn", type=int, metavar="NUMBER", help="The edge's AS number; 0 with --gateway-asn 0: no BGP.")
@click.option("--gateway-asn", type=int, metavar="NUMBER", help="The border router's AS number.")
@click.option("--capacity", type=int, metavar="NUMBER", help="How many interfaces a hypervisor may carry; 0: any number.")
@output_option
@action
def update(
    session: Session,
    host: str,
    pair: str | None,
    uplink: str | None,
    asn: int | None,
    gateway_asn: int | None,
    capacity: int | None,
    output: str,
) -> None:
    """Change an edge, or the capacity of a hypervisor.

    An edge has an uplink, AS numbers and a pair. What is not given stays, and a hypervisor keeps the interfaces that it has. An
    edge that carries gateways must be drained first, and stays drained: check its new uplink in `netorch status`, then undrain
    it. An edge that changes pairs leaves its gateways to its partner, gets those of the new pair, and is undrained.

    Example: netorch host update e1 --uplink bond0.100,198.18.0.21/24,198.18.0.254 --asn 64601 --gateway-asn 64512
    """
    from netorch.control.actions.hosts import describe_host, set_capacity
    from netorch.control.actions.outside.edges import update_edge

    of_edge = (pair, uplink, asn, gateway_asn)
    if capacity is None and all(value is None for value in of_edge):
        raise click.UsageError("Nothing to change; give an option, e.g. --capacity NUMBER for a hypervisor.")
    if capacity is None:
        update_edge(session.store, session.caller, host, pair=pair, uplink=uplink, asn=asn, gateway_asn=gateway_asn)
    elif any(value is not None for value in of_edge):
        raise click.UsageError("Only a hypervisor has a capacity; the other options are an edge's.")
    else:
        set_capacity(session.store, session.caller, host, capacity)
    show_record(row(describe_host(session.store, session.caller, host)), output)


@command.command()
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True, shell_complete=complete("host"))
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until they can be stopped.")
@click.option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", help="With --wait.")
@action
def drain(session: Session, hosts: tuple[str, ...], wait: bool, timeout: float) -> None:
    """Drain hosts, before maintenance.

    A drained hypervisor accepts no new instances and keeps those that it has: `netorch host evacuate` moves them. With --wait
    the command returns once the hypervisor carries no interfaces; then you can turn the machine off.

    From a drained edge traffic moves away. Hypervisors and, by BGP, the border router switch to the other edge of the pair
    within 2 s. Until then the drained edge keeps forwarding, so internet gateways lose nothing. NAT and egress-only gateways are
    first handed over with their connections, which takes some seconds; meanwhile they accept no new ones.

    If the edge's agent is not running, first make sure that its machine is off or unplugged: once the edge is drained, public
    addresses that were released in the meantime can go to other customers.

    With --wait the command returns once no host sends to the edges any more; then you can stop or change them. Without
    --wait, watch LEFT BY in `netorch status`. If the border router has static routes, change those first.

    Example: netorch host drain --wait e1
    """
    from netorch.control.actions.outside.drains import drain_host

    for name in hosts:
        drain_host(session.store, session.caller, name)
        click.echo(f"{name}: is drained")
    if wait and not session.dry_run:
        _wait_until_left(session, hosts, timeout)


@command.command()
@click.argument("host", shell_complete=complete("host"))
@click.option(
    "--to",
    multiple=True,
    metavar="HOST",
    help="A host to move instances to; repeatable. Default: netorch chooses, as for new instances.",
)
@action
@click.pass_context
def evacuate(context: click.Context, session: Session, host: str, to: tuple[str, ...]) -> None:
    """Drain a hypervisor and give its instances other hosts.

    While the agent of the hypervisor runs, its instances move under traffic, as with `netorch instance move`.

    Otherwise the host may be dead, and each instance is recreated elsewhere at once, with its addresses and groups and without
    its connections. First make sure that the machine is off or unplugged. Other hosts refuse its packets from then on; when
    its agent runs again, it removes what has left.

    A host of --to that is drained is refused. One whose agent ran and no longer runs (`under-assessment`) gets no instances, and
    the others take them. Instances may go to a `pending` host; there they start when its agent does.

    `netorch host drain --wait HOST` returns once all have left.

    Exit codes: 0 all are on their way, 2 some stay; each with its reason.

    Example: netorch host evacuate hv1 --to hv2 --to hv3
    """
    from netorch.control.placement.evacuation import check_targets, evacuate_host

    for other, why in check_targets(session.store, host, to).items():
        click.echo(f"{other}: gets no instances: {why}", err=True)
    stay = 0
    for left in evacuate_host(session.store, session.caller, host, to):
        stay += bool(left.problem)
        name = _instance_text(session, left.instance)
        click.echo(f"{name}: stays: {left.problem}" if left.problem else f"{name}: goes to {left.host}")
    if stay:
        context.exit(2)


def _instance_text(session: Session, instance: str) -> str:
    """Return an instance's owner, VPC and name, with its id; only the id if its records cannot be read."""
    from netorch.errors import ApiError, UnreadableRecord
    from netorch.model.eni import Instance
    from netorch.records.read import read

    try:
        vpc, found = read(session.store, session.caller, Instance, instance)
    except (ApiError, UnreadableRecord):
        return instance
    return f"{vpc.record.owner}/{vpc.record.name}/{found.record.name} ({instance})"


def _wait_until_left(session: Session, names: Sequence[str], timeout_s: float) -> None:
    """Wait until no host sends to edges, and hypervisors carry no interfaces; print what is left when that changes.

    Raises NetorchError when time is over.
    """
    from netorch.control.base.edge_users import users_of
    from netorch.model.eni import Role

    end, shown = time.monotonic() + timeout_s, ""
    while True:
        inventory = session.inventory()
        hosts = {name: inventory.hosts[name] for name in names if name in inventory.hosts}
        users = {name: users_of(inventory, name) for name, state in hosts.items() if state.host.pair}
        carried = {name: state.placements for name, state in hosts.items() if state.host.role is Role.HYPERVISOR}
        left = [f"{name}: {', '.join(found)} may still send to it" for name, found in users.items() if found]
        left += [f"{name}: carries {count} interface(s)" for name, count in carried.items() if count]
        if not left:
            done = [f"{name}: no host sends to it any more" for name in users]
            click.echo("\n".join([*done, *(f"{name}: carries no interfaces" for name in carried)]))
            return
        if time.monotonic() > end:
            dead = sorted({host for found in users.values() for host in found if not inventory.hosts[host].live})
            why = [f"the agent of {', '.join(dead)} is not running, so its kernel keeps sending"] if dead else []
            why += [f"`netorch host evacuate {name}` moves them" for name, count in carried.items() if count]
            said = "; ".join(why) or "see netorch status"
            raise NetorchError(f"{'; '.join(left)} after {timeout_s:g} s; {said}. The hosts stay drained")
        if "\n".join(left) != shown:
            shown = "\n".join(left)
            click.echo(shown, err=True)
        time.sleep(POLL_S)


@command.command()
@click.argument("edges", metavar="HOST...", nargs=-1, required=True, shell_complete=complete("host"))
@action
def undrain(session: Session, edges: tuple[str, ...]) -> None:
    """End the drain of hosts.

    Hypervisors accept instances again, and hosts send to the edges again.

    An edge first gets the gateways of its pair that it lacks.
    """
    from netorch.control.actions.outside.drains import undrain_host
    from netorch.model.eni import Role

    for name in edges:
        is_edge = undrain_host(session.store, session.caller, name).role is Role.EDGE
        click.echo(f"{name}: is not drained" if is_edge else f"{name}: accepts instances again")


def _delete() -> Delete:
    from netorch.control.actions.hosts import delete_host

    return delete_host


_DELETE: Final = "Delete hosts that carry nothing, or drained edges.\n\nThe partner of a deleted edge carries on alone."
add_delete(command, "host", "host", _DELETE, _delete)
for _each in (joining.token, joining.join, joining.revoke):
    command.add_command(_each)
