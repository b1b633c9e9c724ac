"""Hosts in the store: their records, number of placements, and whether the agent is alive and the host is being deleted
or drained."""

from __future__ import annotations

import contextlib

import msgspec

from netorch.errors import UnreadableRecord
from netorch.model.eni import Host, Role
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
    deleting: bool = False  # it is being deleted: no new placements
    drained: bool = False  # an edge that hosts must not send to
    placements: int = 0


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
    """Return the state of a host for a placement, without `live` and `placements`.

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


def read_loaded(store: Store, name: str) -> HostState:
    """Return the state of a host, with `live` and `placements`. Raises as `read_host`."""
    state = read_host(store, name)
    state.live = store.get(keys.host_live(name)) is not None
    state.placements = len(store.list(f"{keys.host_prefix(name)}placement/").kvs)
    return state


def read_hosts(store: Store) -> dict[str, HostState]:
    """Return the state of every host by name, without damaged ones. Cost: O(hosts + interfaces)."""
    states: dict[str, HostState] = {}
    placements: dict[str, int] = {}
    live: set[str] = set()
    drained: set[str] = set()
    for kv in store.list("host/").kvs:
        _, host, kind = kv.key.split("/", 2)
        if kind == "spec":
            with contextlib.suppress(UnreadableRecord):  # the host gets no placements; `netorch status` reports it
                states[host] = HostState(host=decode(kv, Host), mod_revision=kv.mod_revision)
        elif kind == "live":
            live.add(host)
        elif kind == "drained":
            drained.add(host)
        else:
            placements[host] = placements.get(host, 0) + 1
    deleting = {kv.key.rpartition("/")[2] for kv in store.list(keys.host_drain("")).kvs}
    for host, state in states.items():
        state.live, state.placements = host in live, placements.get(host, 0)
        state.deleting, state.drained = host in deleting, host in drained
    return states
