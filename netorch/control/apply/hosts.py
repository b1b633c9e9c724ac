"""Plan the hosts as a file declares them. A file never deletes hosts."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.actions import hosts as host_actions
from netorch.control.actions.direct_connect.ports import check_uplink
from netorch.control.actions.direct_connect.users import port_holders
from netorch.control.apply.builder import PlanBuilder
from netorch.control.apply.changes import Action, Change, differences
from netorch.control.base.edge_users import users_of
from netorch.control.base.pairs import join
from netorch.control.base.ranges import add_host, add_uplink
from netorch.control.base.writes import ABSENT, Writes
from netorch.control.placement.choice import mark_full
from netorch.errors import ApiError
from netorch.model.cloud import HostDecl
from netorch.model.eni import Host, Role
from netorch.model.outside.uplink import uplink_text
from netorch.records import keys
from netorch.records.errors import invalid
from netorch.records.hosts import HostState


def plan_hosts(builder: PlanBuilder, decls: list[HostDecl]) -> None:
    """Add new hosts and changed tags. Raises ApiError, UnreadableRecord."""
    for decl in decls:
        builder.inventory.check_host(decl.name)
    declared = {decl.name for decl in decls}  # `check_cloud` has compared these with each other
    others = [state.host for name, state in builder.hosts.items() if name not in declared]
    vteps = {state.host.underlay: name for name, state in builder.hosts.items()}
    if any(_writes_key(decl, builder.hosts.get(decl.name)) for decl in decls):
        _complete_keys(builder)
    for decl in decls:
        host = host_actions.make_host(**msgspec.structs.asdict(decl))
        state = builder.hosts.get(decl.name)
        if not builder.caller.operator and (state is None or state.host != host):
            text = f"host {host.name!r}: only the operator may declare hosts; leave it out, or ask the operator to apply the file"
            raise ApiError("UnauthorizedOperation", text)
        other = vteps.setdefault(host.underlay, decl.name)
        if other != decl.name:
            text = f"host {decl.name!r}: host {other!r} has the underlay address {host.underlay}; give each host its own"
            raise ApiError("InvalidParameterValue", text)
        if state is None:
            _add(builder, host, others)
        elif state.host != host:
            _change(builder, state, host, others)


def _writes_key(decl: HostDecl, state: HostState | None) -> bool:
    """Return whether a hypervisor gets its key, now or by a placement: one with a capacity has it rewritten."""
    return decl.role is Role.HYPERVISOR and (state is None or decl.capacity != state.host.capacity)


def _complete_keys(builder: PlanBuilder) -> None:
    """Add the missing keys of hypervisors that accept instances, as `choice.complete_keys` does."""
    fit = (state for state in builder.hosts.values() if state.host.role is Role.HYPERVISOR and not state.drained)
    for state in [state for state in fit if not state.accepts]:
        name, writes = state.host.name, builder.step()
        writes.expect(keys.host_spec(name), state.mod_revision)
        writes.expect(keys.host_drained(name), ABSENT)
        writes.put(keys.accepts(name), name)


def _add(builder: PlanBuilder, host: Host, others: Iterable[Host]) -> None:
    writes = builder.step()
    _keep_apart(builder, writes, host, others)
    host_actions.create_writes(writes, host)
    if host.pair:
        builder.places[join(writes, host, builder.places)] = host.name
        builder.joined.append(host.name)
    builder.hosts[host.name] = HostState(host=host, mod_revision=ABSENT)
    added = differences(
        underlay=("", host.underlay),
        role=("", host.role.value),
        pair=("", host.pair),
        uplink=("", _uplink_text(host)),
        capacity=("", host.capacity or ""),
    )
    builder.changes.append(Change(action=Action.ADD, kind="host", name=host.name, differences=added))


def _change(builder: PlanBuilder, state: HostState, host: Host, others: Iterable[Host]) -> None:
    """Add a host's new tags and capacity, and the new uplink of an edge that no host sends to. Raises ApiError."""
    before, name = state.host, host.name
    _refuse_contradiction(before, host)
    writes = builder.step()
    if host.uplink != before.uplink:
        if state.placements and (not state.drained or users_of(builder.inventory, name)):
            cut = f"it carries {state.placements} gateway(s), whose packets use {_uplink_text(before)}"
            fix = f"drain the edge before you change its uplink: netorch host drain --wait {name}"
            raise ApiError("IncorrectState", f"host {name!r}: {cut}; {fix}")
        _keep_apart(builder, writes, host, others)
        _keep_off_ports(builder, writes, host)
        writes.expect(keys.host_drained(name), builder.revision_of(keys.host_drained(name)))
    writes.change(keys.host_spec(name), state.mod_revision, host)
    changed = differences(
        uplink=(_uplink_text(before), _uplink_text(host)),
        capacity=(before.capacity or "", host.capacity or ""),
        tags=(before.tags, host.tags),
    )
    builder.hosts[name] = msgspec.structs.replace(state, host=host)
    if host.capacity != before.capacity:
        mark_full(writes, builder.hosts[name])
    builder.changes.append(Change(action=Action.CHANGE, kind="host", name=name, differences=changed))


def _keep_apart(builder: PlanBuilder, writes: Writes, host: Host, others: Iterable[Host]) -> None:
    """Add the guards that keep a host apart from pools and from hosts that the file does not declare. Raises ApiError."""
    pools = (stored.record for stored in builder.inventory.pools.values())
    add_host(writes, host, pools, builder.revision_of(keys.pool_ranges()))
    add_uplink(writes, host, others, builder.revision_of(keys.uplinks()))


def _keep_off_ports(builder: PlanBuilder, writes: Writes, host: Host) -> None:
    """Add the guard that an uplink is no Direct Connect connection. Raises ApiError: DirectConnectClientException."""
    check_uplink(host, port_holders(kv for key, kv in builder.inventory.raw.items() if key.startswith(keys.ports(host.name))))
    if host.uplink is not None:
        writes.expect(keys.port(host.name, host.uplink.device), ABSENT)


def _refuse_contradiction(stored: Host, declared: Host) -> None:
    """Refuse host attributes that a file cannot change. Raises ApiError: InvalidParameterValue."""
    where = f"host {stored.name!r}"
    if (stored.underlay, stored.role) != (declared.underlay, declared.role):
        what = f"is a {stored.role.value} at {stored.underlay}, and neither can be changed"
        raise invalid(where, what, "delete and recreate the host, or name another one")
    if stored.pair != declared.pair or (stored.uplink is None) != (declared.uplink is None):
        fix = f"netorch host update {stored.name} --pair PAIR changes it and moves the gateways"
        raise invalid(where, f"has the pair {stored.pair or 'none'}, which a file cannot change", fix)


def _uplink_text(host: Host) -> str:
    if host.uplink is None:
        return ""
    asns = f" (AS {host.uplink.asn}, gateway AS {host.uplink.gateway_asn})" if host.uplink.asn else ""
    return uplink_text(host.uplink) + asns
