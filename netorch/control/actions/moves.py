"""Moves of interfaces between hosts: the operator's request, and the two steps that the hosts' agents report.

The states are those of `netorch.model.mapping`. Every step is one transaction over all addresses of an interface.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netorch.control.actions.enis import attached_to
from netorch.control.base.writes import Writes, attempt
from netorch.control.placement.choice import StoredHosts, choose_host, place_on
from netorch.errors import ApiError
from netorch.model.eni import Attachment, Host, Instance, NetworkInterface, Placement
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, read_host
from netorch.records.read import Stored, get, mappings_of, read
from netorch.store.base import Store


def move_instance(store: Store, caller: Caller, instance_id: str, to_host: str) -> None:
    """Ask the agents to move an instance with all its interfaces; its traffic continues during the move.

    Raises:
      ApiError: InvalidInstanceID.NotFound, InvalidHostID.NotFound, IncorrectInstanceState while it moves already,
        InvalidParameterValue for its own host or a host that is no hypervisor, IncorrectState for a drained one,
        InsufficientCapacityOnHost for a full one, UnsupportedOperation for an instance in an existing namespace.
    """

    def decide() -> tuple[Writes, None]:
        _, instance = read(store, caller, Instance, instance_id)
        movable(instance.record)
        writes = Writes()
        writes.expect(keys.resource(instance_id), instance.mod_revision)
        target = choose_host(StoredHosts(store), to_host, instance.record.vni, instance_id)
        move_to(writes, store, [eni.record for eni in attached_to(store, instance.record)], target)
        return writes, None

    attempt(store, decide)


def move_to(writes: Writes, store: Store, enis: Sequence[NetworkInterface], target: HostState) -> None:
    """Add the start of the move of an instance, given all its interfaces. Raises ApiError."""
    place_on(writes, target, enis[0].vni, len(enis))
    for eni in enis:
        mappings = mappings_of(store, eni)
        _clear_dead_relays(writes, store, eni, mappings)
        move_writes(writes, eni, mappings, target.host)


def movable(instance: Instance) -> None:
    """Refuse an instance in an existing namespace: no other host can recreate it. Raises ApiError: UnsupportedOperation."""
    if instance.attachment is Attachment.EXISTING:
        what = f"its namespace {instance.netns} is not netorch's, so it cannot move"
        raise ApiError("UnsupportedOperation", f"instance {instance.name} ({instance.id}): {what}; run a new instance there")


def _clear_dead_relays(writes: Writes, store: Store, eni: NetworkInterface, mappings: dict[str, Stored[Mapping]]) -> None:
    """End moves whose former host has no live agent, because no agent will report the end of relaying."""
    for key, mapping in mappings.items():
        move = mapping.record.move
        if move is None or move.direction is not MoveDirection.FROM or store.get(keys.host_live(move.host)) is not None:
            continue
        mappings[key] = Stored(msgspec.structs.replace(mapping.record, move=None), mapping.mod_revision)
        writes.drop(keys.placement(move.host, eni.id))
        writes.drop(keys.full(move.host))


def move_writes(writes: Writes, eni: NetworkInterface, mappings: dict[str, Stored[Mapping]], target: Host) -> None:
    """Add the start of an interface's move. Raises ApiError."""
    to = Move(direction=MoveDirection.TO, host=target.name, vtep=target.underlay)
    for key, mapping in mappings.items():
        record = mapping.record
        where = f"instance {eni.instance}"
        if record.move is not None:
            way = f"is moving {record.move.direction.value} {record.move.host}"
            raise ApiError("IncorrectInstanceState", f"{where}: {way}; wait until it has settled")
        if record.host == target.name:
            raise invalid(where, f"it is already on host {target.name}", "choose another host")
        writes.change(key, mapping.mod_revision, msgspec.structs.replace(record, move=to))
        writes.drop(keys.full(record.host))  # its agent will end the placement, and may not write this key
    writes.put(keys.placement(target.name, eni.id), Placement(id=eni.id))


def cancel_move(store: Store, caller: Caller, instance_id: str) -> None:
    """Cancel an instance's move, if the instance has not arrived yet.

    Raises:
      ApiError: InvalidInstanceID.NotFound, IncorrectInstanceState if it is not moving to a host.
    """

    def decide() -> tuple[Writes, None]:
        _, instance = read(store, caller, Instance, instance_id)
        writes = Writes()
        for eni in attached_to(store, instance.record):
            for key, mapping in mappings_of(store, eni.record).items():
                move = mapping.record.move
                if move is not None and move.direction is MoveDirection.TO:
                    writes.change(key, mapping.mod_revision, msgspec.structs.replace(mapping.record, move=None))
                    writes.drop(keys.placement(move.host, eni.record.id))
                    writes.drop(keys.full(move.host))
        if not writes:
            raise ApiError("IncorrectInstanceState", f"instance {instance_id}: is not moving; there is nothing to cancel")
        return writes, None

    attempt(store, decide)


def complete_arrival(store: Store, host: str, eni_id: str) -> bool:
    """Record that `host` has plugged an interface that was moving to it; from now on the former host relays.

    Returns False if there is nothing to record: the interface is gone, the move was cancelled, or another writer was faster.
    """
    state = _host(store, host)
    writes = Writes()
    if state is None:
        return False
    for key, mapping in _mappings(store, eni_id).items():
        move = mapping.record.move
        if move is None or move.direction is not MoveDirection.TO or move.host != host:
            continue
        back = Move(direction=MoveDirection.FROM, host=mapping.record.host, vtep=mapping.record.vtep)
        there = msgspec.structs.replace(mapping.record, host=host, vtep=state.host.underlay, move=back)
        writes.change(key, mapping.mod_revision, there)
    return bool(writes) and writes.commit(store) > 0


def finish_departure(store: Store, host: str, eni_id: str) -> bool:
    """Record that `host` has finished relaying for an interface that left it, and no longer carries the interface.

    Returns False if the record could not be written just now, or if the interface has not left.
    """
    writes = Writes()
    for key, mapping in _mappings(store, eni_id).items():
        move = mapping.record.move
        if mapping.record.host == host or (move is not None and move.direction is MoveDirection.TO and move.host == host):
            return False
        if move is not None and move.host == host:
            writes.change(key, mapping.mod_revision, msgspec.structs.replace(mapping.record, move=None))
        else:
            writes.expect(key, mapping.mod_revision)
    writes.drop(keys.placement(host, eni_id))
    return writes.commit(store) > 0


def _host(store: Store, name: str) -> HostState | None:
    try:
        return read_host(store, name)
    except ApiError:
        return None


def _mappings(store: Store, eni_id: str) -> dict[str, Stored[Mapping]]:
    eni = get(store, keys.resource(eni_id), NetworkInterface)
    return mappings_of(store, eni.record) if eni is not None else {}
