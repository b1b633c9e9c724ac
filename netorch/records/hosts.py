"""Hosts in the store: their records, number of placements, and whether the agent is alive and the host is being deleted
or drained."""

from __future__ import annotations

import contextlib
from collections import Counter

import msgspec

from netorch.errors import UnreadableRecord
from netorch.model.eni import Host, Role
from netorch.model.ids import is_id, vni_of
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.codec import decode
from netorch.records.errors import not_found
from netorch.store.base import Store


class HostState(msgspec.Struct, kw_only=True):
    """The stored state of a host."""

    host: Host
    mod_revision: int
    live: bool = False
    seen: bool = False  # its agent has run
    deleting: bool = False  # it is being deleted: no new placements
    drained: bool = False  # an edge that hosts must not send to, or a hypervisor that accepts no new instances
    accepts: int = 0  # revision of the key by which a hypervisor accepts new instances; 0: it accepts none
    placements: int = 0
    in_vpcs: Counter[int] = msgspec.field(default_factory=Counter)  # placements by VNI

    def copied(self) -> HostState:
        """Return a copy that may be changed."""
        return msgspec.structs.replace(self, in_vpcs=self.in_vpcs.copy())

    def has_room(self, interfaces: int = 1) -> bool:
        """Return whether the host's capacity permits so many more interfaces."""
        return not self.host.capacity or self.placements + interfaces <= self.host.capacity

    @property
    def silent(self) -> bool:
        """Return whether the host's agent has run and does no longer: perhaps the host is dead."""
        return self.seen and not self.live


def condition(state: HostState) -> str:
    """Return the state of a host: EC2's states of dedicated hosts, and `drained`.

    A host `under-assessment` is perhaps dead, because its agent does not renew its lease.
    """
    if state.deleting:
        return "deleting"
    if state.silent:
        return "under-assessment"
    if state.drained:
        return "drained"
    return "available" if state.live else "pending"


def readiness(state: HostState, status: AgentStatus | None) -> str:
    """Return whether an edge can carry packets, by its agent's last status, and why not; empty for a hypervisor."""
    if state.host.role is not Role.EDGE:
        return ""
    if status is None:
        return "not known"
    if status.not_ready:
        return f"not ready: {status.not_ready}"
    return "drained" if state.drained else "ready"


def is_ready(state: HostState, status: AgentStatus | None) -> bool:
    """Return whether an edge's agent is alive and reports that the edge is ready, and the edge is not drained."""
    return state.live and status is not None and not status.not_ready and not state.drained


def read_host(store: Store, name: str) -> HostState:
    """Return the state of a host without `live`, `seen`, `accepts` and its placements. Hosts may read all of it of themselves.

    Raises:
      ApiError: InvalidHostID.NotFound.
      UnreadableRecord: the host's record is damaged.
    """
    spec = store.get(keys.host_spec(name))
    if spec is None:
        raise not_found("host", name)
    return HostState(
        host=decode(spec, Host),
        mod_revision=spec.mod_revision,
        deleting=store.get(keys.host_drain(name)) is not None,
        drained=store.get(keys.host_drained(name)) is not None,
    )


def read_said(store: Store, name: str) -> AgentStatus | None:
    """Return the last status of a host's agent; None also for one that cannot be read: a host writes it itself."""
    found = store.get(keys.agent_status(name))
    with contextlib.suppress(UnreadableRecord):
        return decode(found, AgentStatus) if found is not None else None
    return None


def vni_of_placement(name: str) -> int:
    """Return the VNI of what is placed on a host, by its id; 0 for a name that is no id."""
    return vni_of(name) if is_id(name) else 0


def read_loaded(store: Store, name: str) -> HostState:
    """Return the state of a host, complete. Raises as `read_host`. Cost: O(its placements)."""
    state = read_host(store, name)
    state.live = store.get(keys.host_live(name)) is not None
    state.seen = store.get(keys.agent_status(name)) is not None
    if state.host.role is Role.HYPERVISOR and (accepts := store.get(keys.accepts(name))) is not None:
        state.accepts = accepts.mod_revision
    state.in_vpcs = Counter(vni_of_placement(kv.key.rpartition("/")[2]) for kv in store.list(keys.placement(name, "")).kvs)
    state.placements = state.in_vpcs.total()
    return state
