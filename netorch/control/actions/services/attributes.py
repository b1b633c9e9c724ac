"""Attributes of a VPC that say how its instances are served."""

from __future__ import annotations

import msgspec

from netorch.control.base.writes import Writes, attempt
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import read_vpc
from netorch.store.base import Store


def modify_vpc(store: Store, caller: Caller, vpc_id: str, *, enable_dns_support: bool) -> Vpc:
    """Return the VPC with names answered in it, or not. EC2: ModifyVpcAttribute.

    Raises:
      ApiError: InvalidVpcID.NotFound.
    """

    def decide() -> tuple[Writes, Vpc]:
        stored = read_vpc(store, caller, vpc_id)
        changed = msgspec.structs.replace(stored.record, enable_dns_support=enable_dns_support)
        writes = Writes()
        if changed != stored.record:
            writes.change(keys.vpc(changed.vni), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)
