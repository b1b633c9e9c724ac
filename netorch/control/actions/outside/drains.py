"""Draining an edge: hypervisors and the border router leave it to the other edge of its pair, and no packet is lost.

The edge goes on forwarding whatever still comes. It answers no probe (netorch.agent.tasks.readiness), so hypervisors leave it as
they leave one that has failed, without the store.
"""

from __future__ import annotations

from netorch.control.base.pairs import edges_of
from netorch.control.base.writes import ABSENT, Writes, attempt
from netorch.errors import ApiError
from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, read_host, read_loaded
from netorch.store.base import Store


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
        others = [read_loaded(store, other) for other in edges_of(store, pair).get(pair, ()) if other != name]
        writes = Writes()
        for other in others:
            found = store.get(keys.agent_status(other.host.name))
            _expect_able(writes, other, decode(found, AgentStatus) if found is not None else None, where)
        if not others:
            raise ApiError("IncorrectState", f"{where}: is the only edge of pair {pair}; give the pair another one first")
        writes.expect(keys.host_spec(name), state.mod_revision)
        writes.put(keys.host_drained(name), name)
        return writes, None

    attempt(store, decide)


def _expect_able(writes: Writes, other: HostState, said: AgentStatus | None, where: str) -> None:
    """Add that the other edge of a pair can carry everything. Raises ApiError: IncorrectState."""
    name = other.host.name
    if other.drained:
        raise ApiError("IncorrectState", f"{where}: {name}, the other edge of its pair, is drained; netorch host undrain {name}")
    if not other.live:
        what = f"the agent of {name}, the other edge of its pair, does not run"
        raise ApiError("IncorrectState", f"{where}: {what}; start it there: netorch agent run --host {name}")
    if said is not None and said.not_ready:
        raise ApiError("IncorrectState", f"{where}: {name}, the other edge of its pair, is not ready: {said.not_ready}")
    writes.expect(keys.host_spec(name), other.mod_revision)
    writes.expect(keys.host_drained(name), ABSENT)


def undrain_host(store: Store, caller: Caller, name: str) -> None:
    """Let hosts send to an edge again; one that is not drained stays as it is. Raises ApiError: InvalidHostID.NotFound."""
    del caller

    def decide() -> tuple[Writes, None]:
        state = read_host(store, name)
        writes = Writes()
        writes.expect(keys.host_spec(name), state.mod_revision)
        writes.drop(keys.host_drained(name))
        return writes, None

    attempt(store, decide)
