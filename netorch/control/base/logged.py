"""The end of what flow logs record: they go with it, so that none is left that records nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netorch.control.base.named import drop_name
from netorch.control.base.writes import Writes
from netorch.model.flow_log import FlowLog
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.read import Stored, read_all
from netorch.store.base import Store

Logs = Mapping[str, list[Stored[FlowLog]]]  # the flow logs of one VPC, by what they record


def by_resource(logs: Iterable[Stored[FlowLog]]) -> Logs:
    """Return flow logs by what they record."""
    found: dict[str, list[Stored[FlowLog]]] = {}
    for stored in logs:
        found.setdefault(stored.record.resource, []).append(stored)
    return found


def logs_of(store: Store, vni: int) -> Logs:
    """Return a VPC's flow logs. Cost: O(flow logs of the VPC)."""
    return by_resource(read_all(store, FlowLog, vni).values())


def delete_logs(writes: Writes, vpc: Vpc, logs: Logs, resource: str) -> None:
    """Add the deletion of a resource's flow logs.

    Who adds one rewrites the record of the interface, or of the VPC that a subnet's deletion rewrites too: so none is missed.
    """
    for stored in logs.get(resource, ()):
        writes.delete(keys.resource(stored.record.id), stored.mod_revision)
        drop_name(writes, vpc, stored.record)
