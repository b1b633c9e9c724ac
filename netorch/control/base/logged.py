"""Delete the flow logs of a deleted resource, so that no flow log without a resource is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netorch.control.base.named import drop_name
from netorch.control.base.writes import Writes
from netorch.model.flow_log import FlowLog
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.read import Stored, read_all
from netorch.store.base import Store

Logs = Mapping[str, list[Stored[FlowLog]]]  # the flow logs of one VPC, by the resource that they record


def by_resource(logs: Iterable[Stored[FlowLog]]) -> Logs:
    """Return flow logs by the resource that they record."""
    found: dict[str, list[Stored[FlowLog]]] = {}
    for stored in logs:
        found.setdefault(stored.record.resource, []).append(stored)
    return found


def logs_of(store: Store, vni: int) -> Logs:
    """Return a VPC's flow logs. Cost: O(flow logs of the VPC)."""
    return by_resource(read_all(store, FlowLog, vni).values())


def delete_logs(writes: Writes, vpc: Vpc, logs: Logs, resource: str) -> None:
    """Add the deletion of a resource's flow logs.

    The creation of a flow log rewrites the record of its interface, or of the VPC. A subnet's deletion rewrites the VPC's
    record too. So no flow log is missed.
    """
    for stored in logs.get(resource, ()):
        writes.delete(keys.resource(stored.record.id), stored.mod_revision)
        drop_name(writes, vpc, stored.record)
