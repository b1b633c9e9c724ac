"""Set a host aside to delete or change it: it gets no placements, and a drained edge hands its gateways to its partner.

The mark of a host that is set aside is `alloc/drain/<host>` (`keys.host_drain`). Every placement compares that the mark is
absent. The next command takes over the mark of an interrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from netorch.control.actions.outside.drains import SEATS, expect_partner
from netorch.control.base.edge_users import users_of
from netorch.control.base.pairs import seat_records
from netorch.control.base.private.tunnels import leave_tunnels
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.eni import Role
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.records import keys
from netorch.records.errors import in_use
from netorch.records.hosts import HostState, read_host, read_loaded
from netorch.records.inventory import read_inventory
from netorch.store.base import Store


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """A host that is set aside."""

    state: HostState  # at the time of the mark
    mark: int  # revision of its mark

    def end(self, writes: Writes) -> None:
        """Add the deletion of the mark to the transaction that changes or deletes the host."""
        writes.delete(keys.host_drain(self.state.host.name), self.mark)


@contextmanager
def set_aside(store: Store, name: str) -> Iterator[Aside]:
    """Keep new interfaces and gateways off a host; an ApiError ends that.

    Raises:
      ApiError: InvalidHostID.NotFound, IncorrectState if another writer changes the host.
    """
    found = read_host(store, name)
    writes = Writes()
    writes.expect(keys.host_spec(name), found.mod_revision)
    writes.put(keys.host_drain(name), name)
    mark = writes.commit(store)
    if not mark:
        raise changed_meanwhile(name)
    aside = Aside(state=read_loaded(store, name), mark=mark)
    try:
        yield aside
    except ApiError:
        back = Writes()
        aside.end(back)
        back.commit(store)
        raise


def changed_meanwhile(name: str) -> ApiError:
    """Return the error for a host that another writer is changing."""
    return ApiError("IncorrectState", f"host {name}: another command is changing it; try again")


def expect_unused(store: Store, state: HostState, what: str) -> None:
    """Refuse to change an edge that receives packets; `what` names the change.

    Raises:
      ApiError: IncorrectState for an edge that carries gateways and is not drained, or that hosts may still send to.
    """
    name = state.host.name
    if not state.placements:
        return
    if not state.drained:
        cut = f"it carries {state.placements} gateway(s) and receives their packets; {what} would lose these"
        raise ApiError("IncorrectState", f"host {name}: {cut}; drain it first: netorch host drain --wait {name}")
    if users := users_of(read_inventory(store), name):
        fix = f"wait until they have moved away: netorch host drain --wait {name}"
        raise ApiError("IncorrectState", f"host {name}: is drained, and {', '.join(users)} may still send to it; {fix}")


def give_up_seats(store: Store, aside: Aside) -> None:
    """Remove all gateways' seats from a drained edge that is set aside: then its partner carries them alone.

    VPN tunnels that end on the edge lose their edge. Each transaction removes a few seats. An interrupted call leaves a drained
    edge with fewer seats; undraining restores them.

    Raises:
      ApiError: IncorrectState as `expect_unused`, or if the partner cannot take over; DependencyViolation for a gateway on no
        other edge.
    """
    state = aside.state
    if not state.placements:
        return
    expect_unused(store, state, "removing it")
    guard = Writes()
    expect_partner(guard, store, state)
    carried = sorted(kv.key.rpartition("/")[2] for kv in store.list(keys.placement(state.host.name, "")).kvs)
    for gateway in carried:
        if gateway_kind(gateway) is TargetKind.VPN_GATEWAY:
            attempt(store, partial(_empty_tunnels, store, aside, gateway))
    for start in range(0, len(carried), SEATS):
        attempt(store, partial(_unseat, store, aside, carried[start : start + SEATS]))


def _empty_tunnels(store: Store, aside: Aside, gateway: str) -> tuple[Writes, None]:
    """Return the writes that remove the edge from a gateway's tunnels."""
    writes = Writes()
    writes.expect(keys.host_drain(aside.state.host.name), aside.mark)
    leave_tunnels(writes, store, gateway, aside.state.host.name)
    return writes, None


def _unseat(store: Store, aside: Aside, gateways: list[str]) -> tuple[Writes, None]:
    name, writes = aside.state.host.name, Writes()
    writes.expect(keys.host_drain(name), aside.mark)
    for gateway in gateways:
        for key, stored in seat_records(store, gateway):
            others = tuple(seat for seat in stored.record.seats if seat.host != name)
            if not others:
                fix = "give its partner the missing gateways: netorch host undrain PARTNER"
                raise in_use("host", name, f"gateway {gateway}, which no other edge has", fix)
            writes.change(key, stored.mod_revision, msgspec.structs.replace(stored.record, seats=others))
            if gateway_kind(gateway) is TargetKind.VPN_GATEWAY:
                writes.drop(keys.reach(stored.record.vni, gateway, name))
        writes.drop(keys.placement(name, gateway))
    return writes, None


def refuse_placed(state: HostState) -> None:
    """Refuse to delete a host that carries anything. Raises ApiError: DependencyViolation."""
    name, count = state.host.name, state.placements
    if not count:
        return
    if state.host.role is not Role.EDGE:
        raise in_use("host", name, f"{count} network interface(s)", "move or terminate its instances first")
    fix = "drain it first, so that its partner takes over: netorch host drain --wait"
    raise in_use("host", name, f"{count} gateway(s)", f"{fix} {name}")
