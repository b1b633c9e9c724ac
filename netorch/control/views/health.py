"""Health of hosts and VPCs, from the status that agents publish."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from netorch.control.base.edge_users import users_of
from netorch.control.views.direct_connect import vif_notes, vif_problems
from netorch.control.views.mtus import sharing, too_small, unequal
from netorch.control.views.services_health import (
    ProxyHealth,
    proxy_complaints,
    proxy_health,
    services_notes,
    services_problems,
)
from netorch.control.views.vpn_health import vpn_notes, vpn_problems
from netorch.model.drop_reason import VIOLATIONS
from netorch.model.eni import EniState, Host, Instance, Role
from netorch.model.ids import vni_of
from netorch.model.outside.nat_metrics import ACTIVE, NO_PORT, total
from netorch.model.outside.uplink import uplink_text
from netorch.model.status import ESTABLISHED, AgentStatus, BorderSession
from netorch.records.errors import start_agent
from netorch.records.hosts import HostState, readiness
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.public import wrong_addresses
from netorch.records.valid.accepting import wrong_accepting
from netorch.records.valid.devices import wrong_devices
from netorch.records.valid.ports import wrong_ports
from netorch.state.owner import overlay_netns
from netorch.store.base import Store

ALARM_S = 300.0  # how long the last forbidden packet is a problem, in seconds


class EdgeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Further status of an edge."""

    pair: str
    uplink: str  # as in commands; empty: no uplink, so the edge carries nothing
    gateways: int  # placed on it
    connections: int  # of its NAT gateways
    no_port: int  # packets of its NAT gateways without a free port
    left_by: tuple[str, ...]  # hosts that get no answer from it, or one that it is not ready, and use the other edge
    proxy: ProxyHealth | None = None  # of gateway endpoints, if it carries any


class HostHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one host."""

    name: str
    underlay: str
    mtu: int  # of the underlay, in bytes; 0: not reported yet
    readiness: str  # of an edge: "ready", "not ready: ..." or "not known"
    agent: str  # "running 3m", "silent" or "never seen"
    vpcs: int  # of its interfaces
    interfaces: int  # placed on it
    attached: int  # reported as attached
    mappings: int  # of these VPCs
    objects: int
    writes: int
    repaired: int
    dropped: dict[str, int]
    table_percent: int  # use of its connection table, if above half; else 0
    border: tuple[BorderSession, ...] = ()  # of an edge that announces its addresses
    edge: EdgeHealth | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The status of the whole cloud; `problems` and `notes` are sentences for people."""

    revision: int
    vpcs: int
    instances: int
    mappings: int
    hosts: tuple[HostHealth, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]  # facts worth knowing that are no problems


def read_health(store: Store, now: float) -> Health:
    """Return the status of everything at `now` (seconds since 1970). Cost: O(store)."""
    inventory = read_inventory(store)
    hosts = [_host(inventory, name, state, now) for name, state in sorted(inventory.hosts.items())]
    return Health(
        revision=inventory.revision,
        vpcs=len(inventory.vpcs),
        instances=sum(len(records.of(Instance)) for records in inventory.vpcs.values()),
        mappings=sum(len(records.mappings) for records in inventory.vpcs.values()),
        hosts=tuple(hosts),
        problems=tuple(_problems(inventory, now)),
        notes=(
            *unequal(sharing(inventory), inventory.mtus),
            *_drained(inventory),
            *_on_standby(inventory),
            *vif_notes(inventory),
            *vpn_notes(inventory),
            *services_notes(inventory),
        ),
    )


def _host(inventory: Inventory, name: str, state: HostState, now: float) -> HostHealth:
    said = inventory.agents.get(name)
    status = said or AgentStatus(version="", pid=0, started_at=now)
    told = {eni: found.state for (host, eni), found in inventory.eni_status.items() if host == name}
    carried = {vni_of(eni) for eni, state in told.items() if state is not EniState.FAILED}
    return HostHealth(
        name=name,
        underlay=state.host.underlay,
        mtu=inventory.mtus.get(name, 0),
        readiness=readiness(state, said),
        agent=f"running {_age(now - status.started_at)}" if state.live else ("silent" if said is not None else "never seen"),
        vpcs=len(carried),
        interfaces=0 if state.host.role is Role.EDGE else state.placements,  # an edge's placements are gateways
        attached=list(told.values()).count(EniState.ATTACHED),
        mappings=sum(len(records.mappings) for vni, records in inventory.vpcs.items() if vni in carried),
        objects=status.objects,
        writes=status.writes,
        repaired=status.repaired,
        dropped=status.counters,
        table_percent=status.table_percent,
        border=status.border,
        edge=_edge_health(inventory, state, status) if state.host.role is Role.EDGE else None,
    )


def _edge_health(inventory: Inventory, state: HostState, status: AgentStatus) -> EdgeHealth:
    host = state.host
    use = total(use.metrics for (name, _), use in inventory.nat_use.items() if name == host.name)
    return EdgeHealth(
        pair=host.pair,
        uplink=uplink_text(host.uplink) if host.uplink is not None else "",
        gateways=state.placements,
        connections=use[ACTIVE],
        no_port=use[NO_PORT],
        left_by=_left_by(inventory, host),
        proxy=proxy_health(inventory, host, status),
    )


def _left_by(inventory: Inventory, edge: Host) -> tuple[str, ...]:
    """Return the hypervisors that do not send to an edge, according to their agents."""
    hypervisors = sorted(name for name, state in inventory.hosts.items() if state.host.role is Role.HYPERVISOR)
    known = [(name, inventory.agents[name]) for name in hypervisors if name in inventory.agents]
    return tuple(name for name, status in known if edge.underlay in status.silent)


def _problems(inventory: Inventory, now: float) -> list[str]:
    wrong = (wrong_addresses(inventory), wrong_ports(inventory), wrong_devices(inventory), wrong_accepting(inventory))
    problems = [str(error) for error in (*inventory.unreadable, *itertools.chain(*wrong))]
    problems += [f"VPC {found.path}: is isolated; nothing in it changes" for found in inventory.isolated.values()]
    if not inventory.hosts:
        problems.append("no host: nothing can run; add one: netorch host create NAME --underlay ADDRESS")
    for name, state in sorted(inventory.hosts.items()):
        status = inventory.agents.get(name)
        if not state.live:
            problems.append(_silence(state, seen=status is not None))
        if status is not None:
            problems += (f"host {name}: {text}" for text in _complaints(name, status, now))
        for vtep in _failed(inventory, state.host, status) if status is not None and state.live else ():
            problems.append(f"host {name}: {_edge(inventory, vtep)} does not answer its probes; check that host")
        for vni in status.refused if status is not None else ():
            refused = f"{_vpc(inventory, vni)} holds more connections than the host's table has free and cannot open new ones"
            problems.append(f"host {name}: {refused}; see netorch flows")
    for (host, vni), degraded in sorted(inventory.vpc_status.items()):
        problems.append(f"host {host}: {_vpc(inventory, vni)} keeps its last state: {degraded.reason}")
    for (host, eni), found in sorted(inventory.eni_status.items()):
        if found.state is EniState.FAILED:
            problems.append(f"host {host}: interface {eni}: {found.reason}")
    problems += [*vpn_problems(inventory), *vif_problems(inventory), *services_problems(inventory)]
    problems += too_small(sharing(inventory), inventory.mtus)
    return problems


def _silence(state: HostState, *, seen: bool) -> str:
    """Return the sentence for a host whose agent does not run."""
    name = state.host.name
    if not seen:
        join = f"if the store is etcd, let it join first (netorch host token {name})"
        return f"host {name}: its agent is not running and has never been seen; {join}; {start_agent(name)}"
    what = "gateway" if state.host.role is Role.EDGE else "interface"
    kept = f", {state.placements} {what}(s) keep what they have" if state.placements else ""
    dead = f", or, if the machine is dead: netorch host evacuate {name}" if kept and what == "interface" else ""
    return f"host {name}: its agent is not running{kept}; {start_agent(name)}{dead}"


def _complaints(name: str, status: AgentStatus, now: float) -> Iterator[str]:
    """Yield the problems that an agent reports of its host."""
    if status.trouble:
        yield status.trouble
    for session in status.border:
        if session.state != ESTABLISHED:
            why = f" ({session.reason})" if session.reason else ""
            said = f"its BGP session with {session.router} is {session.state}{why}, so it receives nothing from outside"
            yield f"{said}; see docs/design/bgp.md"
    if status.not_ready:
        yield f"this edge is not ready, so hypervisors send to others of its pair: {status.not_ready}"
    yield from proxy_complaints(status, now)
    if status.foreign:
        held = f"its namespace {overlay_netns(name)}, which is netorch's alone, holds {', '.join(status.foreign)}"
        yield f"{held}; netorch does not touch it, but it may affect packets: remove it"
    if status.violated_at and now - status.violated_at < ALARM_S:
        counts = " and ".join(f"{count} {reason}" for reason in VIOLATIONS if (count := status.counters.get(reason)))
        since = _age(now - status.violated_at)
        said = f"packets of a misconfigured or hostile host arrived ({counts} in all, the last {since} ago)"
        yield f"{said}; compare the hosts' addresses: netorch map list"


def _drained(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each drained host: what a hypervisor still carries, which hosts may still send to an edge."""
    for name, state in sorted(inventory.hosts.items()):
        if state.drained and state.host.role is Role.HYPERVISOR:
            what = f"host {name} is drained: it accepts no new instances and carries"
            end = f"`netorch host undrain {name}` ends the drain"
            if state.placements:
                yield f"{what} {state.placements} interface(s); `netorch host evacuate {name}` moves them, {end}"
            else:
                yield f"{what} no interfaces, so its machine may be turned off; {end}"
        elif state.drained:
            users = users_of(inventory, name)
            by = f"{', '.join(users)} may still send to it" if users else "no host sends to it"
            yield f"edge {name} is drained, and {by}; to end that: netorch host undrain {name}"


def _on_standby(inventory: Inventory) -> Iterator[str]:
    """Yield a sentence for each ready edge whose stateful gateways are in use on the pair's other edge."""
    for name, state in sorted(inventory.hosts.items()):
        status = inventory.agents.get(name)
        if status is not None and not state.drained and not status.not_ready and state.host.underlay in status.standby:
            yield f"edge {name} is on standby: NAT gateways stay at the other edge of pair {state.host.pair}"


def _failed(inventory: Inventory, host: Host, status: AgentStatus) -> Iterator[str]:
    """Yield the VTEPs of edges that should answer a host's probes but do not. An edge that answers reports its own problems."""
    drained = {state.host.underlay for state in inventory.hosts.values() if state.drained}
    yield from (vtep for vtep in status.dead if vtep not in {*drained, host.underlay})


def _edge(inventory: Inventory, vtep: str) -> str:
    found = next((name for name, state in inventory.hosts.items() if state.host.underlay == vtep), "")
    return f"edge {found} ({vtep})" if found else f"the edge {vtep}"


def _vpc(inventory: Inventory, vni: int) -> str:
    records = inventory.vpcs.get(vni)
    return f"VPC {records.vpc.record.name}" if records is not None else f"VNI {vni}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
