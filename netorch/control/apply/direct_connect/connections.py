"""Plan connections as a file declares them. Like hosts, they are the operator's, and a file never deletes them.

First come new permissions, then the VPCs with their virtual interfaces, then removed permissions.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netorch.control.actions.direct_connect.connections import check_port, create_writes, in_order
from netorch.control.actions.direct_connect.users import User, mark_of, need, operator_only, refuse_unusable, refused
from netorch.control.apply.builder import PlanBuilder
from netorch.control.apply.changes import Action, Change, differences, member_differences
from netorch.control.base.pairs import expect_staying
from netorch.control.base.writes import ABSENT
from netorch.model.check.direct_connect import connection_of
from netorch.model.cloud import ConnectionDecl
from netorch.model.ids import vni_of
from netorch.model.outside import vif_rules
from netorch.model.outside.direct_connect import Connection, HostedConnection
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.read import Stored


def plan_connections(builder: PlanBuilder, decls: list[ConnectionDecl]) -> None:
    """Add new connections and new permissions of owners; the hosts are planned. Raises ApiError."""
    for decl in decls:
        wanted, stored = wanted_of(decl), builder.connections.get(decl.name)
        if stored is None:
            _add(builder, wanted)
        elif stored.record != wanted:
            _check(builder, stored.record, wanted)
            before = stored.record
            known = {(one.vlan, one.outer_vlan) for one in before.hosted}
            more = tuple(one for one in wanted.hosted if (one.vlan, one.outer_vlan) not in known)
            owner = before.owner or wanted.owner
            _change(builder, msgspec.structs.replace(before, owner=owner, hosted=in_order(before.hosted + more)))


def settle_connections(builder: PlanBuilder, decls: list[ConnectionDecl]) -> None:
    """Add the removal of owners' permissions, and tags; the VPCs are planned. Raises ApiError."""
    for decl in decls:
        _change(builder, wanted_of(decl))
        _note(builder, decl.name)


def wanted_of(decl: ConnectionDecl) -> Connection:
    """Return a declared connection in its stored form."""
    connection = connection_of(decl)
    return msgspec.structs.replace(connection, hosted=in_order(connection.hosted), tags=decl.tags)


def _add(builder: PlanBuilder, wanted: Connection) -> None:
    where = f"connection {wanted.name!r}"
    operator_only(builder.caller, where)
    builder.inventory.check_host(wanted.host)
    state = builder.hosts.get(wanted.host)
    if state is None:
        raise not_found("host", wanted.host)
    taken = {found.record.device: name for name, found in builder.connections.items() if found.record.host == wanted.host}
    check_port(wanted, state.host, taken)
    need(where, vif_rules.connection_violation(wanted))
    writes = builder.step()
    expect_staying(writes, state)
    create_writes(writes, wanted)
    builder.connections[wanted.name] = Stored(wanted, ABSENT)


def _check(builder: PlanBuilder, before: Connection, wanted: Connection) -> None:
    where = f"connection {before.name!r}"
    operator_only(builder.caller, where)
    if (before.host, before.device) != (wanted.host, wanted.device):
        what = f"is {before.device} of {before.host}, which cannot be changed"
        raise refused(where, what, "delete and recreate it, or declare another one")


def _change(builder: PlanBuilder, changed: Connection) -> None:
    """Add a change of a connection's owners. Raises ApiError: DirectConnectClientException."""
    stored = builder.connections[changed.name]
    if changed == stored.record:
        return
    need(f"connection {changed.name!r}", vif_rules.connection_violation(changed))
    refuse_unusable(changed, _users(builder, changed.name))
    writes = builder.step()
    writes.expect(mark_of(changed.name), builder.revision_of(mark_of(changed.name)))
    writes.change(keys.connection(changed.name), stored.mod_revision, changed)
    builder.connections[changed.name] = Stored(changed, ABSENT)


def _users(builder: PlanBuilder, name: str) -> Iterator[User]:
    """Yield the virtual interfaces of a connection, after the plan."""
    planned = {records.vni: records for records in builder.planned.values()}
    for (outer_vlan, vlan), vif_id in sorted(builder.vlans.get(name, {}).items()):
        records = planned.get(vni_of(vif_id)) or builder.inventory.vpcs.get(vni_of(vif_id))
        owner = records.vpc.record.owner if records is not None else ""
        yield User(id=vif_id, owner=owner, vlan=vlan, outer_vlan=outer_vlan)


def _note(builder: PlanBuilder, name: str) -> None:
    stored, after = builder.inventory.connections.get(name), builder.connections[name].record
    if stored is None:
        added = differences(host=("", after.host), device=("", after.device), owner=("", after.owner))
        members = member_differences("hosted", (), _texts(after.hosted))
        change = Change(action=Action.ADD, kind="connection", name=name, differences=(*added, *members), hosts=(after.host,))
        builder.changes.append(change)
    elif stored.record != after:
        before = stored.record
        changed = differences(owner=(before.owner, after.owner), tags=(before.tags, after.tags))
        members = member_differences("hosted", _texts(before.hosted), _texts(after.hosted))
        builder.changes.append(Change(action=Action.CHANGE, kind="connection", name=name, differences=(*changed, *members)))


def _texts(hosted: tuple[HostedConnection, ...]) -> list[str]:
    return [f"VLAN {vif_rules.vlan_text(one.vlan, one.outer_vlan)} for {one.owner}" for one in hosted]
