"""VPCs, instances and interfaces with their state, for display; and look-ups of resources by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dictionary
from enum import Enum
from typing import Any

import msgspec

from netorch.control.actions.direct_connect.users import seen_by
from netorch.errors import ApiError
from netorch.model.eni import EniState, EniStatus, Instance, NetworkInterface, primary_eni_id
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import Mapping, MoveDirection, PublicMapping
from netorch.model.security import SecurityGroup
from netorch.model.vpc import Subnet, Vpc
from netorch.records.caller import Caller
from netorch.records.errors import not_found
from netorch.records.inventory import Inventory
from netorch.records.kinds import BY_PREFIX, of_vpc
from netorch.records.names import bare_name, name_of
from netorch.records.part import read_part
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

Public = Dictionary[str, PublicMapping]  # by interface


class InstanceState(Enum):
    """The state of an instance, according to its hosts."""

    PENDING = "pending"  # no status from a host yet
    RUNNING = "running"
    MOVING = "moving"  # moving to another host
    FAILED = "failed"


class SystemStatus(Enum):
    """The system status check of an instance, in EC2's terms: the condition of its host, whatever the instance does."""

    OK = "ok"
    IMPAIRED = "impaired"  # the host's agent does not run; perhaps the host is dead
    INSUFFICIENT_DATA = "insufficient-data"  # the host's agent has never run


class InterfaceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface and its location."""

    eni: NetworkInterface
    subnet: Subnet
    vpc: Vpc
    mapping: Stored[Mapping] | None  # of the primary address; None: not attached
    status: EniStatus | None  # from its host; None: none yet
    groups: tuple[str, ...]  # names of its security groups
    public: PublicMapping | None  # public mapping of its address


class InstanceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An instance with its interfaces (the primary one first) and its state."""

    instance: Instance
    vpc: Vpc
    interfaces: tuple[InterfaceInfo, ...]
    state: InstanceState
    host: str
    system_status: SystemStatus
    reason: str = ""  # why it failed, or what its first interface lacks, in the host's words


def describe_vpcs(inventory: Inventory, caller: Caller) -> list[Vpc]:
    """Return the VPCs that the caller may see, by owner and name."""
    return [records.vpc.record for records in _seen(inventory, caller)]


def describe_interfaces(inventory: Inventory, caller: Caller) -> list[InterfaceInfo]:
    """Return the interfaces that the caller may see, by VPC and address."""
    return [
        _interface(inventory, records, stored.record, public)
        for records in _seen(inventory, caller)
        for public in (_public(records),)
        for _, stored in sorted(records.of(NetworkInterface).items(), key=lambda item: item[1].record.address)
    ]


def describe_instances(inventory: Inventory, caller: Caller) -> list[InstanceInfo]:
    """Return the instances that the caller may see, by VPC and name."""
    found: list[InstanceInfo] = []
    for records in _seen(inventory, caller):
        by_instance: dict[str, list[NetworkInterface]] = {}
        for eni in records.of(NetworkInterface).values():
            by_instance.setdefault(eni.record.instance, []).append(eni.record)
        instances = sorted(records.each(Instance), key=lambda instance: instance.name)
        public = _public(records)
        found += [_instance(inventory, records, instance, by_instance.get(instance.id, []), public) for instance in instances]
    return found


def interfaces_of(store: Store, caller: Caller, vpc_id: str) -> list[InterfaceInfo]:
    """Return a VPC's interfaces by address. Raises ApiError: InvalidVpcID.NotFound."""
    return describe_interfaces(_around(store, caller, "vpc", vpc_id), caller)


def interface_info(store: Store, caller: Caller, eni_id: str) -> InterfaceInfo:
    """Return one interface. Raises ApiError: InvalidNetworkInterfaceID.NotFound."""
    found = describe_interfaces(_around(store, caller, "eni", eni_id), caller)
    return next(info for info in found if info.eni.id == eni_id)


def instances_of(store: Store, caller: Caller, vpc_id: str) -> list[InstanceInfo]:
    """Return a VPC's instances by name. Raises ApiError: InvalidVpcID.NotFound."""
    return describe_instances(_around(store, caller, "vpc", vpc_id), caller)


def instance_info(store: Store, caller: Caller, instance_id: str) -> InstanceInfo:
    """Return one instance. Raises ApiError: InvalidInstanceID.NotFound."""
    found = describe_instances(_around(store, caller, "i", instance_id), caller)
    return next(info for info in found if info.instance.id == instance_id)


def _around(store: Store, caller: Caller, kind: str, resource_id: str) -> Inventory:
    """Return the inventory of an id's VPC and its hosts. Raises ApiError, UnreadableRecord."""
    if not is_id(resource_id, kind):
        raise not_found(kind, resource_id)
    part = read_part(store, [vni_of(resource_id)])
    resolve(part, caller, kind, resource_id)
    return part


def _seen(inventory: Inventory, caller: Caller) -> Iterator[VpcRecords]:
    visible = [records for records in inventory.vpcs.values() if caller.sees(records.vpc.record.owner)]
    yield from sorted(visible, key=lambda records: (records.vpc.record.owner, records.vpc.record.name))


def _interface(inventory: Inventory, records: VpcRecords, eni: NetworkInterface, public: Public) -> InterfaceInfo:
    mapping = records.mappings.get(eni.address)
    status = inventory.eni_status.get((mapping.record.host, eni.id)) if mapping is not None else None
    subnet = records.of(Subnet)[eni.subnet].record
    groups = tuple(sorted(records.of(SecurityGroup)[group_id].record.name for group_id in eni.groups))
    return InterfaceInfo(
        eni=eni,
        subnet=subnet,
        vpc=records.vpc.record,
        mapping=mapping,
        status=status,
        groups=groups,
        public=public.get(eni.id),
    )


def _public(records: VpcRecords) -> Public:
    """Return the public mappings of a VPC by interface."""
    return {mapping.eni: mapping for mapping in records.each(PublicMapping)}


def _instance(
    inventory: Inventory, records: VpcRecords, instance: Instance, enis: list[NetworkInterface], public: Public
) -> InstanceInfo:
    own = primary_eni_id(instance.id)
    interfaces = tuple(
        _interface(inventory, records, eni, public) for eni in sorted(enis, key=lambda eni: (eni.id != own, eni.address))
    )
    host, state, reason = _whereabouts(interfaces)
    return InstanceInfo(
        instance=instance,
        vpc=records.vpc.record,
        interfaces=interfaces,
        state=state,
        host=host,
        system_status=_system_status(inventory, host),
        reason=reason,
    )


def with_interfaces(info: InstanceInfo, interfaces: tuple[InterfaceInfo, ...]) -> InstanceInfo:
    """Return an instance with other descriptions of its interfaces. Its system status stays as it was."""
    host, state, reason = _whereabouts(interfaces)
    return msgspec.structs.replace(info, interfaces=interfaces, host=host, state=state, reason=reason)


def _whereabouts(interfaces: tuple[InterfaceInfo, ...]) -> tuple[str, InstanceState, str]:
    """Return an instance's host, its state, and the reason for the state."""
    mapping = interfaces[0].mapping if interfaces else None
    return (mapping.record.host if mapping is not None else "", *_state(interfaces))


def _system_status(inventory: Inventory, host: str) -> SystemStatus:
    found = inventory.hosts.get(host)
    if found is not None and found.live:
        return SystemStatus.OK
    return SystemStatus.IMPAIRED if found is not None and found.silent else SystemStatus.INSUFFICIENT_DATA


def _state(interfaces: tuple[InterfaceInfo, ...]) -> tuple[InstanceState, str]:
    for interface in interfaces:
        if interface.status is not None and interface.status.state is EniState.FAILED:
            return InstanceState.FAILED, interface.status.reason
    moves = [info.mapping.record.move for info in interfaces if info.mapping is not None and info.mapping.record.move is not None]
    if any(move.direction is MoveDirection.TO for move in moves):
        return InstanceState.MOVING, ""
    if not interfaces or any(info.status is None for info in interfaces):
        return InstanceState.PENDING, ""
    return InstanceState.RUNNING, next((info.status.reason for info in interfaces if info.status is not None), "")


def resolve(inventory: Inventory, caller: Caller, kind: str, text: str) -> tuple[VpcRecords, Any]:
    """Return a resource and its VPC's records, by id or by name: `owner/vpc/name`, `vpc/name`, or a unique `name`.

    The name of a VPC itself (`kind` "vpc") is `owner/name` or `name`. An unnamed interface has its instance's name. A group or
    prefix list may have its prefix as in rules, `sg-web`: no name starts with such a prefix. Other kinds are the prefixes of
    ids: subnet, rtb, eni, i, sg, acl, pl, fl, igw, eigw, nat, vgw, vpn.

    Raises:
      ApiError: EC2's NotFound of that kind; InvalidParameterValue for a name that several have, with the candidates.
      UnreadableRecord: the resource may be in an isolated VPC.
    """
    if is_id(text, kind):
        inventory.check_vpc(caller, vni_of(text))
        found = _by_id(inventory, caller, kind, text)
        if found is None:
            raise not_found(kind, text)
        return found
    *scope, name = text.split("/")
    name = bare_name(kind, name)
    candidates = {path: hit for path, hit in _by_name(inventory, caller, kind, name) if _in_scope(path, scope)}
    if scope or kind == "vpc" or not candidates:  # a bare name that exists in another VPC means that resource
        _check_isolated(inventory, caller, kind, scope, name)
    if not candidates:
        raise not_found(kind, text)
    if len(candidates) > 1:
        names = ", ".join(sorted(candidates))
        raise ApiError("InvalidParameterValue", f"{BY_PREFIX[kind].noun} {text!r}: several have this name; choose one of {names}")
    return next(iter(candidates.values()))


def _by_id(inventory: Inventory, caller: Caller, kind: str, text: str) -> tuple[VpcRecords, Any] | None:
    records = inventory.vpcs.get(vni_of(text))
    found = records.of(BY_PREFIX[kind].type).get(text) if records is not None else None
    if records is None or found is None:
        return None
    if caller.sees(records.vpc.record.owner):
        return records, found.record
    shared_with = BY_PREFIX[kind].shared_with
    other = inventory.vpcs.get(shared_with(found.record)) if shared_with is not None else None
    if other is None or not caller.sees(other.vpc.record.owner):
        return None
    shared = other.of(BY_PREFIX[kind].type).get(text)
    return (other, shared.record) if shared is not None else None


def _by_name(inventory: Inventory, caller: Caller, kind: str, name: str) -> Iterator[tuple[str, tuple[VpcRecords, Any]]]:
    for records in _seen(inventory, caller):
        vpc = records.vpc.record
        if kind == "vpc":
            if vpc.name == name:
                yield f"{vpc.owner}/{vpc.name}", (records, vpc)
            continue
        for stored in records.of(BY_PREFIX[kind].type).values():
            if name_of(records, stored.record) == name:
                yield f"{vpc.owner}/{vpc.name}/{name}", (records, stored.record)


def _check_isolated(inventory: Inventory, caller: Caller, kind: str, scope: list[str], name: str) -> None:
    """Raise UnreadableRecord if the name may belong to an isolated VPC, or to a resource in it."""
    for vni, found in inventory.isolated.items():
        path = f"{found.owner}/{found.name}"
        if (found.name == name and _in_scope(path, scope)) if kind == "vpc" else _in_scope(f"{path}/{name}", scope):
            inventory.check_vpc(caller, vni)


def _in_scope(path: str, scope: list[str]) -> bool:
    parents = path.split("/")[:-1]
    return len(scope) <= len(parents) and parents[len(parents) - len(scope) :] == scope


def names_by_id(inventory: Inventory, caller: Caller) -> dict[str, str]:
    """Return the names of all named resources that the caller sees, by id. Cost: O(cloud)."""
    gateways = (stored.record for stored in inventory.customer_gateways.values())
    names = {found.id: found.name for found in gateways if found.name and caller.sees(found.owner)}
    sets = (stored.record for owned in (inventory.dhcp_options, inventory.zones) for stored in owned.values())
    names |= {found.id: found.name for found in sets if found.name and caller.sees(found.owner)}
    for records in _seen(inventory, caller):
        names[records.vpc.record.id] = records.vpc.record.name
        for kind in of_vpc():
            for resource_id, stored in records.of(kind.type).items():
                names[resource_id] = name_of(records, stored.record) or names.get(resource_id, resource_id)
    return names


def resource_names(inventory: Inventory, caller: Caller, kind: str) -> list[str]:
    """Return the resources of a kind as commands accept them, for completion; `kind` is an id's prefix, or e.g. `host`."""
    if kind == "host":
        return sorted(inventory.hosts)
    if kind == "pool":
        return sorted(inventory.pools)
    if kind == "dxcon":
        return sorted(name for name, stored in inventory.connections.items() if seen_by(caller, stored.record) is not None)
    if kind == "gwsvc":
        return sorted(inventory.services)
    if kind == "bucket":
        return sorted(name for name, stored in inventory.buckets.items() if caller.sees(stored.record.owner))
    if kind == "eipalloc":
        elastic = (stored.record for stored in inventory.elastic_ips.values())
        return sorted(found.address for found in elastic if caller.sees(found.owner))
    owners: dict[str, Iterable[Stored[Any]]] = {
        "cgw": inventory.customer_gateways.values(),
        "dopt": inventory.dhcp_options.values(),
        "zone": inventory.zones.values(),
    }
    if kind in owners:
        return sorted(one.record.name or one.record.id for one in owners[kind] if caller.sees(one.record.owner))
    names = []
    for records in _seen(inventory, caller):
        vpc = records.vpc.record
        if kind == "vpc":
            names.append(vpc.name)
            continue
        for stored in records.of(BY_PREFIX[kind].type).values():
            name = name_of(records, stored.record)
            names.append(f"{vpc.name}/{name}" if name else stored.record.id)
    return names
