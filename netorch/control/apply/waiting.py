"""What becomes of the instances that a plan concerns: `apply` waits until they run.

The VPCs that the plan writes are read once. Later looks read what can still change: of each instance that does not run yet its
mappings and its host's statuses, and of each of its hosts whether the agent lives.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import TypeVar

import msgspec

from netorch.control.apply.changes import CloudPlan
from netorch.control.views.describe import InstanceInfo, InstanceState, InterfaceInfo, describe_instances, with_interfaces
from netorch.errors import UnreadableRecord
from netorch.model.eni import EniStatus
from netorch.model.mapping import Mapping
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.part import read_part
from netorch.records.read import Stored, get
from netorch.store.base import Store

T = TypeVar("T")


class PlannedInstances:
    """The instances in the VPCs of a plan that are somewhere, as their hosts describe them."""

    def __init__(self, store: Store, caller: Caller, plan: CloudPlan) -> None:
        self._store, self._changing = store, frozenset(plan.hosts)
        self.found = [info for info in describe_instances(read_part(store, written_vnis(plan)), caller) if info.host]

    def hosts(self) -> frozenset[str]:
        """Return the hosts that the plan changes and that carry one of the instances."""
        return self._changing & {info.host for info in self.found}

    def waiting(self, hosts: Collection[str]) -> list[InstanceInfo]:
        """Return the instances on some hosts that do not run yet."""
        return [info for info in self.found if info.host in hosts and info.state is not InstanceState.RUNNING]

    def running(self, hosts: Collection[str]) -> int:
        """Return how many instances run, without those that some hosts carry."""
        return sum(info.state is InstanceState.RUNNING and info.host not in hosts for info in self.found)

    def absent(self) -> dict[str, bool]:
        """Return the hosts whose agents do not run, each with whether its agent ever ran. Cost: a read for each host, or two."""
        silent = sorted(host for host in self.hosts() if self._store.get(keys.host_live(host)) is None)
        return {host: self._store.get(keys.agent_status(host)) is not None for host in silent}

    def look_again(self) -> None:
        """Read again what can have changed of the instances that do not run. Cost: two reads for each of their interfaces."""
        now = (info if info.state is InstanceState.RUNNING else self._seen_again(info) for info in self.found)
        self.found = [info for info in now if info.host]

    def _seen_again(self, info: InstanceInfo) -> InstanceInfo:
        return with_interfaces(info, tuple(map(self._interface, info.interfaces)))

    def _interface(self, info: InterfaceInfo) -> InterfaceInfo:
        eni = info.eni
        mapping = self._readable(keys.mapping(eni.vni, eni.address), Mapping)
        if mapping is None or mapping.record.eni != eni.id:
            return msgspec.structs.replace(info, mapping=None, status=None)
        status = self._readable(keys.eni_status(mapping.record.host, eni.id), EniStatus)
        return msgspec.structs.replace(info, mapping=mapping, status=status.record if status is not None else None)

    def _readable(self, key: str, kind: type[T]) -> Stored[T] | None:
        """Return a record; None also for one that cannot be read."""
        with suppress(UnreadableRecord):
            return get(self._store, key, kind)
        return None


def written_vnis(plan: CloudPlan) -> set[int]:
    """Return the VNIs of the VPCs of which a plan writes resources or mappings."""
    written = (key.split("/", 2) for step in plan.steps for key in step.values)
    return {int(vni, 16) for root, vni, *_ in written if root in ("vpc", "map")}
