"""How much an owner may have. EC2's defaults where a lab can live with them; `quota/<owner>` overrides them."""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.control.decode import decode
from netorch.store.base import Store

RULES_PER_INTERFACE: Final = 1000  # EC2's: of all its groups, one way and one IP version


class Quotas(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of one owner. EC2's are 5 VPCs per region and 64,000 address units a VPC; ours let whole clouds into one lab."""

    vpcs: int = 10_000
    cidrs_per_vpc: int = 5  # EC2's, of each IP version
    subnets_per_vpc: int = 200  # EC2's
    route_tables_per_vpc: int = 200  # EC2's
    flow_logs_per_resource: int = 2  # EC2's
    interfaces_per_vpc: int = 64_000  # EC2's network address units
    interfaces_per_instance: int = 15  # EC2's largest; with more, a termination would not fit into one transaction
    groups_per_vpc: int = 2500  # EC2's, of a region
    rules_per_group: int = 60  # EC2's, each way and IP version
    groups_per_interface: int = 5  # EC2's; up to 16
    acls_per_vpc: int = 200  # EC2's
    entries_per_acl: int = 20  # EC2's, each way and IP version
    prefix_lists_per_vpc: int = 100  # EC2's, of a region

    @property
    def memberships(self) -> int:
        """Return in how many groups one interface may be: who raises the quota of rules lowers this one, as in EC2."""
        return min(self.groups_per_interface, RULES_PER_INTERFACE // max(self.rules_per_group, 1))


def quota_key(owner: str) -> str:
    """Return where an owner's own limits are stored."""
    return f"quota/{owner}"


def quotas_of(store: Store, owner: str) -> Quotas:
    """Return an owner's limits: the defaults unless the operator stored others."""
    stored = store.get(quota_key(owner))
    return Quotas() if stored is None else decode(stored, Quotas)
