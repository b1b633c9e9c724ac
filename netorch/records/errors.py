"""EC2's error codes as ready-made refusals; the code is what programs match, the text is for people."""

from __future__ import annotations

from typing import Final

from netorch.errors import ApiError
from netorch.records.kinds import BY_PREFIX


def not_found(kind: str, what: str) -> ApiError:
    """Return the refusal of an id that does not exist for this caller."""
    found = BY_PREFIX[kind]
    text = f"{found.noun} {what!r}: does not exist; `netorch {found.command} list` shows those that do"
    return ApiError(found.not_found, text)


def invalid(where: str, what: str, fix: str) -> ApiError:
    """Return the refusal of a parameter's value."""
    return ApiError("InvalidParameterValue", f"{where}: {what}; {fix}")


def duplicate_name(kind: str, name: str, scope: str) -> ApiError:
    """Return the refusal of a name that is taken. EC2 has no unique names, so the code is the general one."""
    return invalid(f"{BY_PREFIX[kind].noun} {name!r}", f"{scope} has one of that name", "choose another name")


def in_use(kind: str, what: str, by: str, fix: str) -> ApiError:
    """Return the refusal to delete something that others depend on."""
    return ApiError("DependencyViolation", f"{BY_PREFIX[kind].noun} {what}: still has {by}; {fix}")


# EC2's code of a limit -> its name among the quotas. HIGHEST: how high those may be raised that something else bounds, because an
# instance ends in one transaction, and its groups are changed in one.
QUOTA_OF: Final = {
    "VpcLimitExceeded": "vpcs",
    "CidrLimitExceeded": "cidrs_per_vpc",
    "SubnetLimitExceeded": "subnets_per_vpc",
    "RouteTableLimitExceeded": "route_tables_per_vpc",
    "FlowLogsLimitExceeded": "flow_logs_per_resource",
    "NetworkInterfaceLimitExceeded": "interfaces_per_vpc",
    "AttachmentLimitExceeded": "interfaces_per_instance",
    "SecurityGroupLimitExceeded": "groups_per_vpc",
    "RulesPerSecurityGroupLimitExceeded": "rules_per_group",
    "SecurityGroupsPerInterfaceLimitExceeded": "groups_per_interface",
    "NetworkAclLimitExceeded": "acls_per_vpc",
    "NetworkAclEntryLimitExceeded": "entries_per_acl",
    "PrefixListLimitExceeded": "prefix_lists_per_vpc",
}
HIGHEST: Final = {"interfaces_per_instance": 15, "groups_per_interface": 16}


def over_quota(code: str, where: str, limit: int, noun: str, owner: str) -> ApiError:
    """Return the refusal of one more than an owner's quota allows."""
    name = QUOTA_OF[code]
    more = min(2 * limit, HIGHEST.get(name, 2 * limit))
    fix = (
        f"delete one, or let the operator raise the quota: netorch quota set {owner} {name}={more}"
        if more > limit
        else "delete one"
    )
    return ApiError(code, f"{where}: has its {limit} {noun} already; {fix}")
