"""Existing namespaces: who may name them, and which instance has which.

A namespace of a host belongs to the host, so only the operator may name it. The instance in it belongs to an owner like any
other, who may change and terminate it. The key `alloc/netns/<host>/<namespace>` tells which instance has a namespace, whoever
owns the instance. The transactions that create and terminate the instance write and delete the key. The key compares spellings.
The agent of the host finds two spellings of one namespace (`netorch.drivers.home`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netorch.control.base.writes import ABSENT, Writes
from netorch.errors import ApiError
from netorch.model.eni import Attachment, Instance
from netorch.model.rules import normal_netns
from netorch.records.caller import Caller
from netorch.records.codec import UNREADABLE
from netorch.records.errors import invalid
from netorch.store.base import KeyValue, Store


def netns_key(host: str, instance: Instance) -> str:
    """Return the key that tells which instance has the namespace that `instance` names."""
    return f"alloc/netns/{host}/{normal_netns(instance.netns)}"


def check_right(caller: Caller, where: str, attachment: Attachment) -> None:
    """Refuse to let a customer name a namespace. Raises ApiError: UnauthorizedOperation."""
    if attachment is Attachment.EXISTING and not caller.operator:
        text = f"{where}: only the operator may name existing namespaces; leave attachment and netns out, or ask the operator"
        raise ApiError("UnauthorizedOperation", text)


def take(store: Store, writes: Writes, instance: Instance, host: str) -> None:
    """Add the claim of the namespace that a new instance names. Raises ApiError when another instance has it."""
    if instance.attachment is Attachment.EXISTING:
        held = store.get(netns_key(host, instance))
        if held is not None:
            raise _taken(instance, host, _holder(held))
        writes.create(netns_key(host, instance), instance.id)


def release(store: Store, writes: Writes, instance: Instance, hosts: Iterable[str]) -> None:
    """Add the release of the namespace that a terminated instance has on its host."""
    for host in hosts if instance.attachment is Attachment.EXISTING else ():
        held = store.get(netns_key(host, instance))
        if held is not None and _holder(held) == instance.id:
            writes.delete(held.key, held.mod_revision)


class NamespacePlan:
    """The namespaces that a plan takes and gives back. A plan may take a namespace that any of its steps gives back."""

    def __init__(self, raw: Mapping[str, KeyValue], placed: Iterable[tuple[str, Instance]]) -> None:
        """Start from the claims in the store, and from all instances by host: instances of older versions have no claim."""
        self._held = {key: kv for key, kv in raw.items() if key.startswith("alloc/netns/")}
        self._holders = {netns_key(host, found): found.id for host, found in placed if found.attachment is Attachment.EXISTING}
        self._holders |= {key: _holder(kv) for key, kv in self._held.items()}
        self._taken: dict[str, tuple[Writes, Instance]] = {}
        self._freed: dict[str, Writes] = {}

    def take(self, writes: Writes, instance: Instance, host: str) -> None:
        """Let a step that creates an instance take its namespace. Raises ApiError when another new instance takes it."""
        if instance.attachment is Attachment.EXISTING:
            _, other = self._taken.setdefault(netns_key(host, instance), (writes, instance))
            if other is not instance:
                raise _taken(instance, host, other.name)

    def release(self, writes: Writes, instance: Instance, hosts: Iterable[str]) -> None:
        """Let a step that terminates an instance give back its namespace."""
        for host in hosts if instance.attachment is Attachment.EXISTING else ():
            if self._holders.get(netns_key(host, instance)) == instance.id:
                self._freed[netns_key(host, instance)] = writes

    def settle(self, steps: list[Writes]) -> Iterator[tuple[int, ApiError]]:
        """Complete the steps that take and give back. Yield the VNI and error of each instance whose namespace stays taken."""
        order = {id(writes): number for number, writes in enumerate(steps)}
        for key, (writes, instance) in self._taken.items():
            freed = self._freed.get(key)
            if key in self._holders and freed is None:
                yield instance.vni, _taken(instance, key.split("/")[2], self._holders[key])
                continue
            if freed is not None and order[id(freed)] > order[id(writes)]:
                del self._freed[key]  # one write hands the namespace over
            free = ABSENT if key in self._freed else self._revision(key)
            writes.change(key, free, instance.id)
        for key, writes in self._freed.items():
            if key in self._held:
                writes.delete(key, self._revision(key))

    def _revision(self, key: str) -> int:
        held = self._held.get(key)
        return held.mod_revision if held is not None else ABSENT


def _taken(instance: Instance, host: str, holder: str) -> ApiError:
    where = f"instance {instance.name!r}"
    return invalid(where, f"namespace {instance.netns} of host {host} belongs to instance {holder}", "give each instance its own")


def _holder(held: KeyValue) -> str:
    try:
        return msgspec.json.decode(held.value, type=str)
    except UNREADABLE:
        return "(unreadable)"  # taken by an unknown instance: a namespace given out twice is worse than one not given out
