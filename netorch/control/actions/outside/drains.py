"""Draining an edge: hypervisors and the border router leave it to the other edge of its pair, and no packet is lost.

The edge goes on forwarding whatever still comes. It answers no probe (netorch.agent.tasks.readiness), so hypervisors leave it as
they leave one that has failed, without the store. An edge that joins another one is drained until it has all gateways.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from netorch.control.base.pairs import edges_of, expect_staying, seat_records
from netorch.control.base.private.tunnels import complete_tunnels
from netorch.control.base.writes import ABSENT, Writes, attempt
from netorch.errors import ApiError
from netorch.model.eni import Host, Placement
from netorch.model.mapping import Seat
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, read_host, read_loaded
from netorch.store.base import Store

SEATS: Final = 32  # given in one transaction: two keys each


def drain_host(store: Store, caller: Caller, name: str) -> None:
    """Let nobody send to an edge any more; one that is drained already stays so.

    Raises:
      ApiError: InvalidHostID.NotFound; InvalidParameterValue for a host that is no edge of a pair; IncorrectState if the pair has
        no other edge that is ready and not drained.
    """
    del caller  # hosts have no owner; the CLI lets operators in only

    def decide() -> tuple[Writes, None]:
        state = read_host(store, name)
        where, pair = f"host {name}", state.host.pair
        if not pair:
            fix = "move or terminate a hypervisor's instances instead"
            raise invalid(where, f"is a {state.host.role.value} without a pair: no other host could take over", fix)
        writes = Writes()
        expect_partner(writes, store, state)
        writes.expect(keys.host_spec(name), state.mod_revision)
        writes.put(keys.host_drained(name), name)
        return writes, None

    attempt(store, decide)


def expect_partner(writes: Writes, store: Store, state: HostState) -> None:
    """Add that the other edge of an edge's pair can carry everything. Raises ApiError: IncorrectState."""
    name, pair, where = state.host.name, state.host.pair, f"host {state.host.name}"
    others = [read_loaded(store, other) for other in edges_of(store, pair).get(pair, ()) if other != name]
    if not others:
        raise ApiError("IncorrectState", f"{where}: is the only edge of pair {pair}; give the pair another one first")
    for other in others:
        found = store.get(keys.agent_status(other.host.name))
        _expect_able(writes, other, decode(found, AgentStatus) if found is not None else None, where)


def _expect_able(writes: Writes, other: HostState, said: AgentStatus | None, where: str) -> None:
    """Add that the other edge of a pair can carry everything. Raises ApiError: IncorrectState."""
    name = other.host.name
    if other.drained:
        raise ApiError("IncorrectState", f"{where}: {name}, the other edge of its pair, is drained; netorch host undrain {name}")
    if not other.live:
        what = f"the agent of {name}, the other edge of its pair, does not run"
        raise ApiError("IncorrectState", f"{where}: {what}; start it there: netorch agent run --host {name}")
    not_ready = said.not_ready if said is not None else "its agent has not said yet that it is"
    if not_ready:
        raise ApiError("IncorrectState", f"{where}: {name}, the other edge of its pair, is not ready: {not_ready}")
    writes.expect(keys.host_spec(name), other.mod_revision)
    writes.expect(keys.host_drained(name), ABSENT)


def undrain_host(store: Store, caller: Caller, name: str) -> None:
    """Let hosts send to an edge again, as `admit` does. Raises as that."""
    del caller
    admit(store, name)


def admit(store: Store, name: str) -> None:
    """Give an edge seats of all gateways of its pair, then let hosts send to it; one that has them and is not drained stays so.

    It takes the tunnels of VPN connections that have no edge. One that has joined another edge has none of that one's gateways at
    first. What is interrupted is completed by the next call. Cost: O(gateways of the pair, and their connections).

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
        return writes, None

    attempt(store, decide)


def _complete_seats(store: Store, edge: Host) -> None:
    """Give an edge a seat of each gateway that the other edge of its pair carries, a few in a transaction.

    No other gateway can lack one: who makes a gateway sees that the edge has joined, or has to decide again.
    """
    others = [other for other in edges_of(store, edge.pair)[edge.pair] if other != edge.name] if edge.pair else []
    carried = {gateway for other in others for gateway in _carried(store, other)}
    missing = sorted(carried.difference(_carried(store, edge.name)))
    for start in range(0, len(missing), SEATS):
        attempt(store, partial(_seat_writes, store, edge.name, missing[start : start + SEATS]))


def _carried(store: Store, edge: str) -> list[str]:
    return [kv.key.rpartition("/")[2] for kv in store.list(keys.placement(edge, "")).kvs]


def _seat_writes(store: Store, name: str, gateways: list[str]) -> tuple[Writes, None]:
    """Return what gives an edge the last seat of each of some gateways, so that none of these moves; a deleted one needs none."""
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
