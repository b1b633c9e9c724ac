"""Empty a hypervisor: by moves under traffic while its agent runs, at once if the operator has found it dead.

Nothing is asked of a dead host. One transaction for each instance rewrites its mappings. From then on hosts send to the new
host, and refuse packets that come from the old one with these addresses (receive-side verification). So a host that was believed
dead and is alive cannot speak as them. When its agent reaches the store again, it removes the ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from netorch.control.actions.enis import hosts_of
from netorch.control.actions.moves import movable, move_to
from netorch.control.actions.outside.drains import close_host
from netorch.control.base.writes import ABSENT, Writes, attempt
from netorch.control.placement.choice import StoredHosts, choose_host, place_on, rank
from netorch.errors import ApiError, Conflict, UnreadableRecord
from netorch.model.eni import Instance, NetworkInterface, Placement, Role
from netorch.model.ids import vni_of
from netorch.model.mapping import Mapping, MoveDirection
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.hosts import HostState, read_loaded
from netorch.records.read import Stored, get, mappings_of, read, read_all
from netorch.store.base import Store


class Evacuated(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of an evacuated host: where it goes, or why it stays."""

    instance: str  # id; of an interface without a readable instance, the interface's
    host: str = ""
    problem: str = ""


def check_targets(store: Store, name: str, to: Sequence[str]) -> dict[str, str]:
    """Return those of the hosts `to` that would get no instances of an evacuated host now, with the reason.

    Raises:
      ApiError: InvalidHostID.NotFound; InvalidParameterValue for one that is no hypervisor, or the evacuated host itself;
        IncorrectState for one that is drained or being deleted.
    """
    if name in to:
        raise invalid(f"host {name}", "it is named among the hosts to go to", "name others")
    targets = [_open_target(store, other) for other in to]
    return {state.host.name: why for state in targets if (why := _unfit(state))}


def evacuate_host(store: Store, caller: Caller, name: str, to: Sequence[str] = ()) -> Iterator[Evacuated]:
    """Drain a hypervisor, then give each of its instances another host: the best of `to`, or a chosen one. Yield each.

    A host whose agent runs is left by moves under traffic, any other at once: make sure that its machine is off or unplugged.

    Raises:
      ApiError, before anything changes: InvalidHostID.NotFound; InvalidParameterValue for a host that is no hypervisor; as
        `check_targets`.
    Cost: O(interfaces of the VPCs that the host carries).
    """
    state = read_loaded(store, name)
    if state.host.role is not Role.HYPERVISOR:
        fix = f"its partner takes over: netorch host drain {name}"
        raise invalid(f"host {name}", f"its role is {state.host.role.value}", fix)
    check_targets(store, name, to)
    attempt(store, partial(close_host, store, name))
    attached, seen = _Attached(store, name), set[str]()
    for eni_id in sorted(kv.key.rpartition("/")[2] for kv in store.list(keys.placement(name, "")).kvs):
        instance_id = ""
        try:
            eni = get(store, keys.resource(eni_id), NetworkInterface)
            instance_id = eni.record.instance if eni is not None else ""
            if not instance_id and store.get(keys.placement(name, eni_id)) is not None:
                fix = "map verify" if eni is not None else "store check"
                problem = f"interface {eni_id}: has a placement on host {name} and no instance; see netorch {fix}"
                yield Evacuated(instance=eni_id, problem=problem)
            elif instance_id and instance_id not in seen:
                seen.add(instance_id)
                yield attempt(store, partial(_leave, store, caller, attached, instance_id, to))
        except (ApiError, UnreadableRecord, Conflict) as error:
            yield Evacuated(instance=instance_id or eni_id, problem=str(error))


class _Attached:
    """The interfaces of a host's instances: each VPC's are listed once, and again if one is attached on the host meanwhile."""

    def __init__(self, store: Store, host: str) -> None:
        self._store, self.host = store, host
        self._known: set[str] = set()  # attached interfaces
        self._ids: dict[str, list[str]] = {}  # of interfaces by instance

    def to(self, instance: Instance) -> list[NetworkInterface]:
        """Return an instance's interfaces as they are now. Raises UnreadableRecord."""
        here = self._store.list(keys.placements_in(self.host, "eni", instance.vni)).kvs
        if not all(kv.key.rpartition("/")[2] in self._known for kv in here):
            self._list(instance.vni)
        found = (get(self._store, keys.resource(eni_id), NetworkInterface) for eni_id in self._ids.get(instance.id, ()))
        return [eni.record for eni in found if eni is not None and eni.record.instance == instance.id]

    def _list(self, vni: int) -> None:
        enis = [eni.record for eni in read_all(self._store, NetworkInterface, vni).values() if eni.record.instance]
        self._known |= {eni.id for eni in enis}
        self._ids |= {instance: [] for instance in {eni.instance for eni in enis}}
        for eni in enis:
            self._ids[eni.instance].append(eni.id)


def _leave(store: Store, caller: Caller, attached: _Attached, instance_id: str, to: Sequence[str]) -> tuple[Writes, Evacuated]:
    """Return the writes by which an instance leaves a host, and its new host. Raises ApiError, UnreadableRecord."""
    name = attached.host
    _, instance = read(store, caller, Instance, instance_id)
    movable(instance.record)
    enis = [(eni, mappings_of(store, eni)) for eni in attached.to(instance.record)]
    writes = Writes()
    writes.expect(keys.resource(instance_id), instance.mod_revision)
    for eni, mappings in enis:
        _drop_stray(writes, name, eni, mappings)
    if store.get(keys.host_live(name)) is not None:
        ends = {_end(found.record) for _, mappings in enis for found in mappings.values()}
        if name not in ends:  # it is on its way already
            return writes, Evacuated(instance=instance_id, host=min(ends))
        target = _target(store, instance_id, to, len(enis))
        move_to(writes, store, [eni for eni, _ in enis], target)
        return writes, Evacuated(instance=instance_id, host=target.host.name)
    writes.expect(keys.host_live(name), ABSENT)  # a host that comes back in time keeps its instances
    settled = {found.record.host for _, mappings in enis for found in mappings.values()}
    if settled == {name}:
        target = _target(store, instance_id, to, len(enis))
        place_on(writes, target, instance.record.vni, len(enis))
        place = target.host
    else:  # it is moving: to this host, or from it
        place = read_loaded(store, next(iter(settled - {name}))).host
    for eni, mappings in enis:
        for host in hosts_of(found.record for found in mappings.values()):
            writes.drop(keys.placement(host, eni.id))
        for key, found in mappings.items():
            settled_there = msgspec.structs.replace(found.record, host=place.name, vtep=place.underlay, move=None)
            writes.change(key, found.mod_revision, settled_there)
        writes.put(keys.placement(place.name, eni.id), Placement(id=eni.id))
        writes.drop(keys.eni_status(name, eni.id))
    return writes, Evacuated(instance=instance_id, host=place.name)


def _drop_stray(writes: Writes, name: str, eni: NetworkInterface, mappings: dict[str, Stored[Mapping]]) -> None:
    """Add the deletion of an interface's placement on a host that its mappings do not name.

    Raises:
      ApiError: IncorrectState for an interface without a mapping, because nobody knows where it is.
    """
    missing = [address for address in eni.addresses if keys.mapping(eni.vni, address) not in mappings]
    if missing:
        raise ApiError("IncorrectState", f"interface {eni.id}: has no mapping of {missing[0]}; see netorch map verify")
    if name not in hosts_of(found.record for found in mappings.values()):
        for key, found in mappings.items():
            writes.expect(key, found.mod_revision)
        writes.drop(keys.placement(name, eni.id))


def _end(mapping: Mapping) -> str:
    """Return the host that carries an address when its move is complete."""
    move = mapping.move
    return move.host if move is not None and move.direction is MoveDirection.TO else mapping.host


def _open_target(store: Store, name: str) -> HostState:
    """Return a host that the operator names to go to. Raises ApiError for one that nothing may be placed on."""
    state = choose_host(StoredHosts(store), name, 0, "")
    if state.drained or state.deleting:
        fix = f"leave it out, or reopen it: netorch host undrain {name}" if not state.deleting else "leave it out"
        raise ApiError("IncorrectState", f"host {name}: {_unfit(state)}, so no instance can go there; {fix}")
    return state


def _unfit(state: HostState) -> str:
    """Return why a hypervisor gets no instances of an evacuated one; empty if it may get some."""
    if state.deleting:
        return "is being deleted"
    if state.drained:
        return "is drained"
    return "its agent does not run" if state.silent else ""


def _target(store: Store, instance_id: str, to: Sequence[str], interfaces: int) -> HostState:
    """Return the new host of an instance with so many interfaces. Raises ApiError, UnreadableRecord."""
    hosts, vni = StoredHosts(store), vni_of(instance_id)
    found = [choose_host(hosts, name, vni, instance_id, interfaces) for name in to or [""]]
    fit = [state for state in found if not _unfit(state)]
    if not fit:
        why = "; ".join(f"host {state.host.name}: {_unfit(state)}" for state in found)
        raise ApiError("IncorrectState", f"{why}; name another one with --to, or none, so that netorch chooses")
    return min(fit, key=lambda state: (not state.has_room(interfaces), rank(state, vni)))
