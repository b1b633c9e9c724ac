"""The end of what flow logs record: they go with it, so that none is left that records nothing."""

from __future__ import annotations

from netorch.control.base.writes import Writes
from netorch.model.flow_log import FlowLog
from netorch.records import keys
from netorch.records.read import read_all
from netorch.store.base import Store


def delete_logs_of(store: Store, writes: Writes, vni: int, resource: str) -> None:
    """Add the deletion of a resource's flow logs. Cost: O(flow logs of the VPC).

    Who adds one rewrites the record of the interface, or of the VPC that a subnet's deletion rewrites too: so none is missed.
    """
    for log_id, log in read_all(store, FlowLog, vni).items():
        if log.record.resource == resource:
            writes.delete(keys.resource(log_id), log.mod_revision)
