"""Drain a host. A drained hypervisor accepts no new instances. Of a drained edge, hypervisors and the border router move to
the pair's other edge, and no packet is lost.

The edge forwards packets that still arrive. It answers no probe (netorch.agent.tasks.readiness), so hypervisors leave it
without the store, as they leave a failed edge. An edge that joins another one is drained until it has all gateways.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from netorch.control.base.pairs import edges_of, expect_staying, seat_records
from netorch.control.base.private.tunnels import complete_tunnels
from netorch.control.base.writes import ABSENT, Writes, attempt
from netorch.control.placement.choice import complete_keys, mark_full
from netorch.errors import ApiError
from netorch.model.eni import Host, Placement, Role
from netorch.model.mapping import Seat
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid, start_agent
from netorch.records.hosts import HostState, read_host, read_loaded, read_said
from netorch.store.base import Store

SEATS: Final = 32  # per transaction: two keys each


def drain_host(store: Store, caller: Caller, name: str) -> None:
    """Drain an edge, so that no host sends to it, or a hypervisor, so that it accepts no new instances and keeps those it has.

    A drained host stays drained.

    Raises:
      ApiError: InvalidHostID.NotFound; InvalidParameterValue for an edge without a pair; IncorrectState if the pair has no other
        edge that is ready and not drained.
    """
    del caller  # hosts have no owner; the CLI admits only operators

    def decide() -> tuple[Writes, None]:
        state = read_host(store, name)
        if state.host.role is Role.HYPERVISOR:
            return close_host(store, name)
        if not state.host.pair:
            fix = f"give it one first: netorch host update {name} --pair PAIR --uplink DEVICE,ADDRESS/LENGTH,GATEWAY"
            raise invalid(f"host {name}", "is an edge without a pair: no other host could take over", fix)
        writes = Writes()
        expect_partner(writes, store, state)
        writes.expect(keys.host_spec(name), state.mod_revision)
        writes.put(keys.host_drained(name), name)
        return writes, None

    attempt(store, decide)


def close_host(store: Store, name: str) -> tuple[Writes, None]:
    """Return the writes after which a hypervisor accepts no new instances. Raises ApiError: InvalidHostID.NotFound."""
    state, writes = read_host(store, name), Writes()
    writes.expect(keys.host_spec(name), state.mod_revision)
    writes.put(keys.host_drained(name), name)
    writes.drop(keys.accepts(name))
    writes.drop(keys.full(name))
    writes.put(keys.closed(name), name)
    return writes, None


def expect_partner(writes: Writes, store: Store, state: HostState) -> None:
    """Add the condition that the pair's other edge can carry everything. Raises ApiError: IncorrectState."""
    name, pair, where = state.host.name, state.host.pair, f"host {state.host.name}"
    others = [read_loaded(store, other) for other in edges_of(store, pair).get(pair, ()) if other != name]
    if not others:
        raise ApiError("IncorrectState", f"{where}: is the only edge of pair {pair}; add another edge to the pair first")
    for other in others:
        _expect_able(writes, other, read_said(store, other.host.name), where)


def _expect_able(writes: Writes, other: HostState, said: AgentStatus | None, where: str) -> None:
    """Add the condition that the edge `other` can carry everything. Raises ApiError: IncorrectState."""
    name = other.host.name
    if other.drained:
        raise ApiError("IncorrectState", f"{where}: {name}, the other edge of its pair, is drained; netorch host undrain {name}")
    if not other.live:
        what = f"the agent of {name}, the other edge of its pair, is not running"
        raise ApiError("IncorrectState", f"{where}: {what}; {start_agent(name)}")
    not_ready = said.not_ready if said is not None else "its agent has not reported ready yet"
    if not_ready:
        raise ApiError("IncorrectState", f"{where}: {name}, the other edge of its pair, is not ready: {not_ready}")
    writes.expect(keys.host_spec(name), other.mod_revision)
    writes.expect(keys.host_drained(name), ABSENT)


def undrain_host(store: Store, caller: Caller, name: str) -> Host:
    """Let hosts send to an edge again, or let a hypervisor accept instances again, as `admit` does. Return the host.

    A hypervisor's agent must be running: an agent that missed the drain would take its many missing placements for a loss of the
    store (netorch.agent.following.absence).

    Raises:
      ApiError: as `admit`; IncorrectState for a hypervisor whose agent has run, and does not run now.
    """
    del caller
    host = read_host(store, name).host
    if host.role is Role.HYPERVISOR:
        state = read_loaded(store, name)
        if state.drained and state.seen and not state.live:
            raise ApiError("IncorrectState", f"host {name}: its agent is not running; start it first, then repeat this")
        complete_keys(store)
    admit(store, name)
    return host


def admit(store: Store, name: str) -> None:
    """Give an edge seats of all its pair's gateways, then end its drain. An edge that has both stays unchanged.

    It takes the VPN tunnels that have no edge. An edge that joined another one has none of its gateways at first. The next call
    completes an interrupted one. Cost: O(gateways of the pair, and their connections).

    Raises:
      ApiError: InvalidHostID.NotFound; IncorrectState for an edge that is being deleted or changed.
    """
    _complete_seats(store, read_host(store, name).host)
    complete_tunnels(store, name)

    def decide() -> tuple[Writes, None]:
        state = read_host(store, name)
        writes = Writes()
        expect_staying(writes, state)
        writes.drop(keys.host_drained(name))
        if state.host.role is Role.HYPERVISOR:
            writes.put(keys.accepts(name), name)
            writes.drop(keys.closed(name))
            mark_full(writes, read_loaded(store, name))
        return writes, None

    attempt(store, decide)


def _complete_seats(store: Store, edge: Host) -> None:
    """Give an edge a seat of each gateway that the pair's other edge carries, a few per transaction.

    It can lack no other gateway: the creation of a gateway detects the new edge, or is decided again.
    """
    others = [other for other in edges_of(store, edge.pair)[edge.pair] if other != edge.name] if edge.pair else []
    carried = {gateway for other in others for gateway in _carried(store, other)}
    missing = sorted(carried.difference(_carried(store, edge.name)))
    for start in range(0, len(missing), SEATS):
        attempt(store, partial(_seat_writes, store, edge.name, missing[start : start + SEATS]))


def _carried(store: Store, edge: str) -> list[str]:
    return [kv.key.rpartition("/")[2] for kv in store.list(keys.placement(edge, "")).kvs]


def _seat_writes(store: Store, name: str, gateways: list[str]) -> tuple[Writes, None]:
    """Return the writes that give an edge the last seat of each gateway, so that no gateway moves; deleted ones are skipped."""
    state, writes = read_host(store, name), Writes()
    for gateway in gateways:
        for key, stored in seat_records(store, gateway):
            if any(seat.host == name for seat in stored.record.seats):
                continue
            seats = (*stored.record.seats, Seat(host=name, vtep=state.host.underlay))
            writes.change(key, stored.mod_revision, msgspec.structs.replace(stored.record, seats=seats))
            writes.put(keys.placement(name, gateway), Placement(id=gateway))
    if writes:
        expect_staying(writes, state)
    return writes, None
