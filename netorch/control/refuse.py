"""EC2's error codes as ready-made refusals; the code is what programs match, the text is for people."""

from __future__ import annotations

from typing import Final

from netorch.errors import ApiError

# The kind of an id -> EC2's code for one that does not exist. InvalidHostID is EC2's for dedicated hosts.
NOT_FOUND: Final = {
    "vpc": "InvalidVpcID.NotFound",
    "subnet": "InvalidSubnetID.NotFound",
    "rtb": "InvalidRouteTableID.NotFound",
    "eni": "InvalidNetworkInterfaceID.NotFound",
    "i": "InvalidInstanceID.NotFound",
    "sg": "InvalidGroup.NotFound",
    "acl": "InvalidNetworkAclID.NotFound",
    "pl": "InvalidPrefixListID.NotFound",
    "fl": "InvalidFlowLogId.NotFound",
    "host": "InvalidHostID.NotFound",
}
NOUN: Final = {
    "vpc": "VPC",
    "subnet": "subnet",
    "rtb": "route table",
    "eni": "network interface",
    "i": "instance",
    "sg": "security group",
    "acl": "network ACL",
    "pl": "prefix list",
    "fl": "flow log",
    "host": "host",
}
LIST: Final = {
    "vpc": "vpc",
    "subnet": "subnet",
    "rtb": "route-table",
    "eni": "eni",
    "i": "instance",
    "sg": "sg",
    "acl": "nacl",
    "pl": "prefix-list",
    "fl": "flow-log",
    "host": "host",
}


def not_found(kind: str, what: str) -> ApiError:
    """Return the refusal of an id that does not exist for this caller."""
    return ApiError(NOT_FOUND[kind], f"{NOUN[kind]} {what!r}: does not exist; `netorch {LIST[kind]} list` shows those that do")


def invalid(where: str, what: str, fix: str) -> ApiError:
    """Return the refusal of a parameter's value."""
    return ApiError("InvalidParameterValue", f"{where}: {what}; {fix}")


def duplicate_name(kind: str, name: str, scope: str) -> ApiError:
    """Return the refusal of a name that is taken. EC2 has no unique names, so the code is the general one."""
    return invalid(f"{NOUN[kind]} {name!r}", f"{scope} has one of that name", "choose another name")


def in_use(kind: str, what: str, by: str, fix: str) -> ApiError:
    """Return the refusal to delete something that others depend on."""
    return ApiError("DependencyViolation", f"{NOUN[kind]} {what}: still has {by}; {fix}")


def over_quota(code: str, where: str, limit: int, noun: str) -> ApiError:
    """Return the refusal of one more than a quota allows."""
    return ApiError(code, f"{where}: has its {limit} {noun} already; delete one, or raise the quota")
