"""What makes the hosts as a file declares them. Hosts are never deleted by a file."""

from __future__ import annotations

import msgspec

from netorch.control.actions import hosts as host_actions
from netorch.control.apply.builder import PlanBuilder
from netorch.control.apply.changes import Action, Change, differences
from netorch.control.base.ranges import add_host
from netorch.control.base.writes import ABSENT
from netorch.errors import ApiError
from netorch.model.cloud import HostDecl
from netorch.model.eni import Host
from netorch.records import keys
from netorch.records.hosts import HostState


def plan_hosts(builder: PlanBuilder, decls: list[HostDecl]) -> None:
    """Add new hosts and changed tags. Raises ApiError, UnreadableRecord."""
    for decl in decls:
        builder.inventory.check_host(decl.name)
    vteps = {state.host.underlay: name for name, state in builder.hosts.items()}
    for decl in decls:
        host = host_actions.make_host(name=decl.name, underlay=decl.underlay, role=decl.role, tags=decl.tags)
        state = builder.hosts.get(decl.name)
        if not builder.caller.operator and (state is None or not _is(state.host, host)):
            text = f"host {host.name!r}: hosts are the operator's; leave it out, or let the operator apply it"
            raise ApiError("UnauthorizedOperation", text)
        other = vteps.setdefault(host.underlay, decl.name)
        if other != decl.name:
            text = f"host {decl.name!r}: the underlay address {host.underlay} is host {other!r}'s; give each host its own"
            raise ApiError("InvalidParameterValue", text)
        if state is None:
            writes = builder.step()
            pools = (stored.record for stored in builder.inventory.pools.values())
            add_host(writes, host, pools, builder.revision_of(keys.pool_ranges()))
            host_actions.create_writes(writes, host)
            builder.hosts[host.name] = HostState(host=host, mod_revision=ABSENT)
            added = differences(underlay=("", host.underlay), role=("", host.role.value))
            builder.changes.append(Change(action=Action.ADD, kind="host", name=host.name, differences=added))
        elif (state.host.underlay, state.host.role) != (host.underlay, host.role):
            text = f"host {host.name!r}: is a {state.host.role.value} at {state.host.underlay}, and neither can be changed"
            raise ApiError("InvalidParameterValue", f"{text}; delete the host and create it again, or name another one")
        elif state.host.tags != host.tags:
            tagged = msgspec.structs.replace(state.host, tags=host.tags)
            builder.step().change(keys.host_spec(host.name), state.mod_revision, tagged)
            changed = differences(tags=(state.host.tags, host.tags))
            builder.changes.append(Change(action=Action.CHANGE, kind="host", name=host.name, differences=changed))


def _is(stored: Host, declared: Host) -> bool:
    """Return whether a host is as declared, as far as a file can say: it has no words for pairs and uplinks."""
    return msgspec.structs.replace(stored, pair="", uplink=None) == declared
