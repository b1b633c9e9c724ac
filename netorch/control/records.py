"""Reading records: what one action needs to decide, each with the revision that its transaction then compares."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from netorch.control.caller import Caller
from netorch.control.decode import decode
from netorch.control.refuse import not_found
from netorch.errors import UnreadableRecord
from netorch.model import keys
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import Mapping
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.store.base import KeyValue, Store

T = TypeVar("T")


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A record as it was read."""

    record: T
    mod_revision: int


def stored(kv: KeyValue, kind: type[T]) -> Stored[T]:
    """Return the record of a key. Raises UnreadableRecord."""
    return Stored(decode(kv, kind), kv.mod_revision)


def get(store: Store, key: str, kind: type[T]) -> Stored[T] | None:
    """Return one record, or None. Raises UnreadableRecord."""
    kv = store.get(key)
    return None if kv is None else stored(kv, kind)


def listed(store: Store, prefix: str, kind: type[T]) -> dict[str, Stored[T]]:
    """Return the records below a prefix by the last part of their key, in the key's order. Raises UnreadableRecord."""
    return {kv.key[len(prefix) :]: stored(kv, kind) for kv in store.list(prefix).kvs}


def read_vpc(store: Store, caller: Caller, vpc_id: str) -> Stored[Vpc]:
    """Return a VPC that the caller may see. Raises ApiError: InvalidVpcID.NotFound."""
    found = seen_vpc(store, caller, vni_of(vpc_id)) if is_id(vpc_id, "vpc") else None
    if found is None or found.record.id != vpc_id:
        raise not_found("vpc", vpc_id)
    return found


def seen_vpc(store: Store, caller: Caller, vni: int) -> Stored[Vpc] | None:
    """Return the VPC of a VNI if the caller may see it; of a damaged one nobody knows that, so only the operator hears of it."""
    try:
        found = get(store, keys.vpc(vni), Vpc)
    except UnreadableRecord:
        if caller.operator:
            raise
        return None
    return found if found is not None and caller.sees(found.record.owner) else None


def _read(store: Store, caller: Caller, kind: str, resource_id: str, key: str, of: type[T]) -> tuple[Stored[Vpc], Stored[T]]:
    """Return a resource with its VPC. Raises ApiError when either is missing or another owner's."""
    if not is_id(resource_id, kind):
        raise not_found(kind, resource_id)
    vpc = seen_vpc(store, caller, vni_of(resource_id))
    found = get(store, key, of) if vpc is not None else None
    if vpc is None or found is None:
        raise not_found(kind, resource_id)
    return vpc, found


def _vni(resource_id: str, kind: str) -> int:
    return vni_of(resource_id) if is_id(resource_id, kind) else 0


def read_subnet(store: Store, caller: Caller, subnet_id: str) -> tuple[Stored[Vpc], Stored[Subnet]]:
    """Return a subnet with its VPC. Raises ApiError: InvalidSubnetID.NotFound."""
    return _read(store, caller, "subnet", subnet_id, keys.subnet(_vni(subnet_id, "subnet"), subnet_id), Subnet)


def read_route_table(store: Store, caller: Caller, table_id: str) -> tuple[Stored[Vpc], Stored[RouteTable]]:
    """Return a route table with its VPC. Raises ApiError: InvalidRouteTableID.NotFound."""
    return _read(store, caller, "rtb", table_id, keys.route_table(_vni(table_id, "rtb"), table_id), RouteTable)


def read_eni(store: Store, caller: Caller, eni_id: str) -> tuple[Stored[Vpc], Stored[NetworkInterface]]:
    """Return a network interface with its VPC. Raises ApiError: InvalidNetworkInterfaceID.NotFound."""
    return _read(store, caller, "eni", eni_id, keys.eni(_vni(eni_id, "eni"), eni_id), NetworkInterface)


def read_instance(store: Store, caller: Caller, instance_id: str) -> tuple[Stored[Vpc], Stored[Instance]]:
    """Return an instance with its VPC. Raises ApiError: InvalidInstanceID.NotFound."""
    return _read(store, caller, "i", instance_id, keys.instance(_vni(instance_id, "i"), instance_id), Instance)


def read_group(store: Store, caller: Caller, group_id: str) -> tuple[Stored[Vpc], Stored[SecurityGroup]]:
    """Return a security group with its VPC. Raises ApiError: InvalidGroup.NotFound."""
    return _read(store, caller, "sg", group_id, keys.security_group(_vni(group_id, "sg"), group_id), SecurityGroup)


def read_acl(store: Store, caller: Caller, acl_id: str) -> tuple[Stored[Vpc], Stored[NetworkAcl]]:
    """Return a network ACL with its VPC. Raises ApiError: InvalidNetworkAclID.NotFound."""
    return _read(store, caller, "acl", acl_id, keys.network_acl(_vni(acl_id, "acl"), acl_id), NetworkAcl)


def read_prefix_list(store: Store, caller: Caller, list_id: str) -> tuple[Stored[Vpc], Stored[PrefixList]]:
    """Return a prefix list with its VPC. Raises ApiError: InvalidPrefixListID.NotFound."""
    return _read(store, caller, "pl", list_id, keys.prefix_list(_vni(list_id, "pl"), list_id), PrefixList)


def read_flow_log(store: Store, caller: Caller, log_id: str) -> tuple[Stored[Vpc], Stored[FlowLog]]:
    """Return a flow log with its VPC. Raises ApiError: InvalidFlowLogId.NotFound."""
    return _read(store, caller, "fl", log_id, keys.flow_log(_vni(log_id, "fl"), log_id), FlowLog)


def flow_logs_of(store: Store, vni: int) -> dict[str, Stored[FlowLog]]:
    """Return a VPC's flow logs by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}fl/", FlowLog)


def subnets_of(store: Store, vni: int) -> dict[str, Stored[Subnet]]:
    """Return a VPC's subnets by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}subnet/", Subnet)


def route_tables_of(store: Store, vni: int) -> dict[str, Stored[RouteTable]]:
    """Return a VPC's route tables by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}rtb/", RouteTable)


def groups_of(store: Store, vni: int) -> dict[str, Stored[SecurityGroup]]:
    """Return a VPC's security groups by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}sg/", SecurityGroup)


def acls_of(store: Store, vni: int) -> dict[str, Stored[NetworkAcl]]:
    """Return a VPC's network ACLs by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}acl/", NetworkAcl)


def prefix_lists_of(store: Store, vni: int) -> dict[str, Stored[PrefixList]]:
    """Return a VPC's prefix lists by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}pl/", PrefixList)


def enis_of(store: Store, vni: int) -> dict[str, Stored[NetworkInterface]]:
    """Return a VPC's network interfaces by id."""
    return listed(store, f"{keys.vpc_prefix(vni)}eni/", NetworkInterface)


def mappings_of(store: Store, eni: NetworkInterface) -> dict[str, Stored[Mapping]]:
    """Return the mappings of an interface by key; none while it is not attached."""
    found = {}
    for address in eni.addresses:
        key = keys.mapping(eni.vni, address)
        mapping = get(store, key, Mapping)
        if mapping is not None and mapping.record.eni == eni.id:
            found[key] = mapping
    return found
