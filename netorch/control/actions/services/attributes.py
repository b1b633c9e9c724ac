"""Attributes of a VPC that control the services for its instances."""

from __future__ import annotations

import msgspec

from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.read import read_vpc
from netorch.store.base import Store


def modify_vpc(
    store: Store,
    caller: Caller,
    vpc_id: str,
    *,
    enable_dns_support: bool | None = None,
    enable_dns_hostnames: bool | None = None,
) -> Vpc:
    """Change the attributes of a VPC and return the VPC; None keeps a value. EC2: ModifyVpcAttribute.

    Raises:
      ApiError: InvalidVpcID.NotFound, MissingParameter, InvalidParameterValue for host names without DNS support.
    """
    asked = {"enable_dns_support": enable_dns_support, "enable_dns_hostnames": enable_dns_hostnames}
    wanted = {name: value for name, value in asked.items() if value is not None}
    if not wanted:
        raise ApiError("MissingParameter", f"VPC {vpc_id}: no attribute is named; name one, e.g. --dns-hostnames")

    def decide() -> tuple[Writes, Vpc]:
        stored = read_vpc(store, caller, vpc_id)
        changed = msgspec.structs.replace(stored.record, **wanted)
        if enable_dns_hostnames and not changed.enable_dns_support:
            raise invalid(f"VPC {vpc_id}", "DNS host names need DNS support, which is off", "turn it on as well: --dns-support")
        writes = Writes()
        if changed != stored.record:
            writes.change(keys.vpc(changed.vni), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)
