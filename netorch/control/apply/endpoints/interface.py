"""Plan the interface endpoints of VPCs as declared.

Deletions come before all VPCs are planned, so that the service, the subnets and the groups may be deleted too. Additions come
after all VPCs are planned: their service may be in another VPC of the same file.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec

from netorch.control.actions.endpoints.interface import not_offered, private_name
from netorch.control.actions.groups import join
from netorch.control.actions.memberships import change_groups
from netorch.control.apply.builder import GroupsOf, PlanBuilder, carriers
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences
from netorch.control.apply.endpoints.links import activate, delete_interface, end, new_interface, pools_of
from netorch.control.base.named import add_name
from netorch.control.base.quotas import check_limit
from netorch.control.base.structure import delete_part
from netorch.control.base.writes import ABSENT, Writes, guard_structure
from netorch.model.cloud import SubnetDecl, VpcDecl
from netorch.model.endpoints.declared import InterfaceEndpointDecl, service_path
from netorch.model.endpoints.endpoint import EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id, vni_of
from netorch.model.security import DEFAULT_NAME, SecurityGroup
from netorch.model.services.zones import VpcZone
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.errors import invalid
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


def _stored(records: VpcRecords) -> list[Stored[VpcEndpoint]]:
    return [stored for stored in records.of(VpcEndpoint).values() if stored.record.type is EndpointType.INTERFACE]


def _called(endpoint: VpcEndpoint) -> str:
    return endpoint.name or endpoint.id


def delete_endpoints(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
    """Add the deletion of endpoints that a VPC does not declare, or that must be recreated."""
    declared = {one.name: one for one in decl.interface_endpoints}
    for stored in _stored(records):
        one = declared.get(_called(stored.record))
        if one is not None and _is_kept(builder, decl, records, stored.record, one):
            continue
        was = _words(builder, records, stored.record)
        _delete(builder, records, stored)
        if one is None:
            breaks = "the VPC no longer reaches its service through it"
            _note(builder, Action.DELETE, records, stored.record, (), breaks)
        else:
            builder.replaced_endpoints[records.vni, one.name] = (stored.record.id, was)


def _is_kept(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, endpoint: VpcEndpoint, one: InterfaceEndpointDecl) -> bool:
    """Return whether a stored endpoint can become the declared one without being recreated."""
    found = _service_id(builder, decl, one.service)
    if endpoint.service != found:
        return False
    ranges: dict[str, SubnetDecl] = {subnet.name: subnet for subnet in decl.subnets}
    names = set()
    for subnet in _subnets(records, endpoint):
        if subnet.name not in ranges or ranges[subnet.name].cidr != subnet.cidr:
            return False
        names.add(subnet.name)
    return names == set(one.subnets)


def _subnets(records: VpcRecords, endpoint: VpcEndpoint) -> list[Subnet]:
    held = (records.one(NetworkInterface, eni_id) for eni_id in endpoint.interfaces)
    found = (records.one(Subnet, eni.subnet) for eni in held if eni is not None)
    return [subnet for subnet in found if subnet is not None]


def _delete(builder: PlanBuilder, records: VpcRecords, stored: Stored[VpcEndpoint]) -> None:
    """Add the deletion of an endpoint with its interfaces, and of its connection on both sides."""
    endpoint, writes = stored.record, builder.step()
    connection = records.one(EndpointConnection, connection_of(endpoint.id))
    if connection is not None:
        provider = builder.vpcs.get(connection.provider)
        if provider is not None:
            guard_structure(writes, provider.vpc)
        end(builder, writes, connection)
    for eni_id in endpoint.interfaces:
        delete_interface(builder, writes, records, eni_id)
    delete_part(writes, records.vpc, stored)
    records.of(VpcEndpoint).pop(endpoint.id)


def change_groups_of(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, groups_of: GroupsOf) -> None:
    """Add the group changes of endpoints that stay, before groups are deleted."""
    declared = {one.name: one for one in decl.interface_endpoints}
    for stored in _stored(records):
        one, endpoint = declared[_called(stored.record)], stored.record
        was = _words(builder, records, endpoint)
        for eni_id in endpoint.interfaces:
            eni = records.of(NetworkInterface)[eni_id]
            groups = groups_of(one.security_groups, len(eni.record.groups))
            if eni.record.groups != tuple(groups):
                changed = change_groups(builder.step(), eni, {}, groups)
                records.of(NetworkInterface)[eni_id] = Stored(changed, ABSENT)
        if found := _changed(was, {**was, "security_groups": _groups(one)}):
            _note(builder, Action.CHANGE, records, endpoint, found, "")


def _groups(one: InterfaceEndpointDecl) -> tuple[str, ...]:
    return tuple(sorted(one.security_groups) or (DEFAULT_NAME,))


def _change(builder: PlanBuilder, records: VpcRecords, stored: Stored[VpcEndpoint], one: InterfaceEndpointDecl) -> None:
    """Add the changes of an endpoint's tags and of its private DNS name. Raises ApiError."""
    endpoint = stored.record
    private = endpoint.private_dns_name if endpoint.private_dns else ""
    if one.private_dns is not endpoint.private_dns:
        private = _private_name(builder, records, one, endpoint.service, endpoint.id)
    after = msgspec.structs.replace(endpoint, private_dns=one.private_dns, private_dns_name=private, tags=one.tags)
    if after != endpoint:
        writes = builder.step()
        if after.private_dns_name != endpoint.private_dns_name:  # a zone of this domain may come to the VPC at the same time
            guard_structure(writes, records.vpc)
        writes.change(keys.resource(endpoint.id), stored.mod_revision, after)
        records.of(VpcEndpoint)[endpoint.id] = Stored(after, ABSENT)
        found = _changed(_words(builder, records, endpoint), _words(builder, records, after))
        _note(builder, Action.CHANGE, records, after, found, "")


def _private_name(
    builder: PlanBuilder, records: VpcRecords, one: InterfaceEndpointDecl, service_id: str, endpoint_id: str = ""
) -> str:
    """Return a service's private DNS name for an endpoint; nothing without private DNS. Raises ApiError."""
    if not one.private_dns:
        return ""
    where = f"endpoint {one.name!r}"
    provider = builder.vpcs.get(vni_of(service_id))
    service = provider.one(EndpointService, service_id) if provider is not None else None
    if service is None:
        raise not_offered(where, one.service, records.vpc.record.owner)
    others = (found for found in records.each(VpcEndpoint) if found.id != endpoint_id)
    return private_name(where, records.vpc.record, service, records.each(VpcZone), others)


def add_endpoints(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords) -> None:
    """Add the declared endpoints that a VPC does not have yet, and changes of others. Raises ApiError: as the action."""
    declared = {one.name: one for one in decl.interface_endpoints}
    for stored in _stored(records):
        _change(builder, records, stored, declared[_called(stored.record)])
    known = {_called(stored.record) for stored in _stored(records)}
    new = [one for one in decl.interface_endpoints if one.name not in known]
    if new:
        vpc, count = records.vpc.record, len(known) + len(new)
        limit, noun = "interface_endpoints_per_vpc", "interface endpoints"
        check_limit(builder.quotas_of(vpc.owner), limit, "VpcEndpointLimitExceeded", f"VPC {vpc.id}", count, noun)
    for one in new:
        _add(builder, decl, records, one)


def _add(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, one: InterfaceEndpointDecl) -> None:
    where, vpc = f"endpoint {one.name!r}", records.vpc.record
    provider, service = _offered(builder, decl, where, one.service)
    groups = builder.groups_of[vpc.vni](one.security_groups, 0)
    writes = builder.step()
    for each in (records, provider):
        guard_structure(writes, each.vpc)
    join(writes, groups)
    endpoint_id = builder.caller.new_id("vpce", vpc.vni)
    pools, subnets = pools_of(builder, records), {subnet.name: subnet for subnet in records.each(Subnet)}
    given = [(pool, pool.next(4)) for pool in (pools.of(subnets[name]) for name in one.subnets)]
    made = [new_interface(builder, writes, records, pool, address, groups, endpoint_id) for pool, address in given]
    connection = _connect(builder, writes, vpc.owner, service, endpoint_id)
    endpoint = VpcEndpoint(
        id=endpoint_id,
        vni=vpc.vni,
        type=EndpointType.INTERFACE,
        service=service.record.id,
        name=one.name,
        state=connection.state,
        interfaces=tuple(eni.id for eni in made),
        private_dns=one.private_dns,
        private_dns_name=_private_name(builder, records, one, service.record.id),
        tags=one.tags,
    )
    writes.create(keys.resource(endpoint.id), endpoint)
    add_name(writes, vpc, endpoint)
    records.of(VpcEndpoint)[endpoint.id] = Stored(endpoint, ABSENT)
    _note_new(builder, records, endpoint, {**_words(builder, records, endpoint), "security_groups": _groups(one)})


def _connect(
    builder: PlanBuilder, writes: Writes, owner: str, service: Stored[EndpointService], endpoint_id: str
) -> EndpointConnection:
    """Add a new endpoint's connection to both VPCs, and return it: pending if the provider must accept it. Raises ApiError."""
    connection = EndpointConnection(
        id=connection_of(endpoint_id),
        vni=vni_of(endpoint_id),
        service=service.record.id,
        endpoint=endpoint_id,
        owner=owner,
        created=int(builder.caller.now()),
    )
    writes.expect(keys.resource(service.record.id), service.mod_revision)
    if not service.record.acceptance_required:
        connection = activate(builder, writes, connection)
    for vni in (connection.consumer, connection.provider):
        mine = msgspec.structs.replace(connection, vni=vni)
        writes.create(keys.member(vni, mine.id), mine)
        builder.vpcs[vni].of(EndpointConnection)[mine.id] = Stored(mine, ABSENT)
    return connection


def _service_id(builder: PlanBuilder, decl: VpcDecl, text: str) -> str:
    """Return the id of a service that an endpoint names; nothing if it does not exist so far."""
    if is_id(text, "vpce-svc"):
        return text
    path = service_path(decl.owner, text)
    if path is None or not builder.caller.sees(path[0]):
        return ""
    for records in builder.vpcs.values():
        if (records.vpc.record.owner, records.vpc.record.name) == path[:2]:
            return next((service.id for service in records.each(EndpointService) if service.name == path[2]), "")
    return ""


def _offered(builder: PlanBuilder, decl: VpcDecl, where: str, text: str) -> tuple[VpcRecords, Stored[EndpointService]]:
    """Return a service that a VPC's owner may use, with its VPC. Raises ApiError: InvalidServiceName."""
    service_id = _service_id(builder, decl, text)
    provider = builder.vpcs.get(vni_of(service_id)) if service_id else None
    service = provider.of(EndpointService).get(service_id) if provider is not None else None
    if provider is None or service is None:
        raise not_offered(where, text, decl.owner)
    owner = provider.vpc.record.owner
    if owner != decl.owner and not service.record.admits(decl.owner):
        raise not_offered(where, text, decl.owner)
    if (owner, provider.vpc.record.name) == (decl.owner, decl.name):
        raise invalid(where, f"{text} is a service of the same VPC", "reach its targets by their own addresses")
    return provider, service


def spoken(builder: PlanBuilder, service_id: str) -> str:
    """Return OWNER/VPC/NAME of a service if the caller sees it, else its id."""
    provider = builder.vpcs.get(vni_of(service_id))
    service = provider.one(EndpointService, service_id) if provider is not None else None
    if provider is None or service is None or not builder.caller.sees(provider.vpc.record.owner):
        return service_id
    return f"{provider.vpc.record.owner}/{provider.vpc.record.name}/{service.name}"


def _words(builder: PlanBuilder, records: VpcRecords, endpoint: VpcEndpoint) -> dict[str, Any]:
    """Return the attributes of an endpoint for people."""
    held = (records.one(NetworkInterface, eni_id) for eni_id in endpoint.interfaces)
    groups = {group for eni in held if eni is not None for group in eni.groups}
    named = (records.one(SecurityGroup, group) for group in groups)
    return {
        "service": spoken(builder, endpoint.service),
        "subnets": tuple(sorted(subnet.name for subnet in _subnets(records, endpoint))),
        "security_groups": tuple(sorted(group.name for group in named if group is not None)),
        "private_dns": "true" if endpoint.private_dns else "",
        "tags": endpoint.tags or "",
    }


def _changed(was: dict[str, Any], now: dict[str, Any]) -> tuple[Difference, ...]:
    """Return the differences of an endpoint; `was` is empty for a new one."""
    plain = differences(**{field: (was.get(field, ""), now[field]) for field in ("service", "private_dns", "tags")})
    lists = [member_differences(field, was.get(field, ()), now[field]) for field in ("subnets", "security_groups")]
    return (*plain, *chain(*lists))


def _note_new(builder: PlanBuilder, records: VpcRecords, endpoint: VpcEndpoint, now: dict[str, Any]) -> None:
    """Note a new or recreated endpoint."""
    replaced = builder.replaced_endpoints.pop((records.vni, endpoint.name), None)
    if replaced is None:
        state = differences(state=("", endpoint.state.value))
        _note(builder, Action.ADD, records, endpoint, (*_changed({}, now), *state), "")
        return
    old, was = replaced
    breaks = "its connections end; it gets new addresses and a new id"
    _note(builder, Action.REPLACE, records, msgspec.structs.replace(endpoint, id=old), _changed(was, now), breaks)


def _note(
    builder: PlanBuilder,
    action: Action,
    records: VpcRecords,
    endpoint: VpcEndpoint,
    changed: tuple[Difference, ...],
    breaks: str,
) -> None:
    vpc = records.vpc.record
    provider = builder.vpcs.get(vni_of(endpoint.service))
    other = provider.vpc.record if provider is not None else None
    seen = other is not None and builder.caller.sees(other.owner)
    change = Change(
        action=action,
        kind="endpoint",
        owner=vpc.owner,
        vpc=vpc.name,
        name=_called(endpoint),
        resource_id="" if action is Action.ADD else endpoint.id,
        differences=changed,
        breaks=breaks,
        hosts=carriers(records),
        peer=f"{other.owner}/{other.name}" if other is not None and seen else "",
    )
    builder.changes.append(change)
