"""Options of instances' metadata requests: EC2's ModifyInstanceMetadataOptions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netorch.control.actions.instances import check_told
from netorch.control.base.writes import Writes, attempt
from netorch.model.eni import Instance
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import read
from netorch.store.base import Store


def modify_metadata_options(store: Store, caller: Caller, instance_id: str, asked: Mapping[str, bool | int]) -> Instance:
    """Change an instance's metadata options and return the instance; `asked` holds fields of MetadataOptions, others stay.

    Raises:
      ApiError: InvalidInstanceID.NotFound, InvalidParameterValue for a hop limit out of range.
    """

    def decide() -> tuple[Writes, Instance]:
        _, stored = read(store, caller, Instance, instance_id)
        options = msgspec.structs.replace(stored.record.metadata, **asked)
        check_told(f"instance {instance_id}", "", options)
        changed = msgspec.structs.replace(stored.record, metadata=options)
        writes = Writes()
        if changed != stored.record:
            writes.change(keys.resource(instance_id), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)
