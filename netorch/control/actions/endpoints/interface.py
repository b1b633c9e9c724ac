"""Interface endpoints: addresses in a VPC's own subnets that lead to a service of another VPC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from netorch.control.actions import enis
from netorch.control.actions.endpoints.connections import Link, activate
from netorch.control.actions.groups import choose_groups, join
from netorch.control.actions.services.zones import endpoints_in, zone_of, zones_in
from netorch.control.base import checks
from netorch.control.base.addresses import open_pool
from netorch.control.base.logged import logs_of
from netorch.control.base.named import add_name
from netorch.control.base.pairs import carried_by
from netorch.control.base.public import publics_of
from netorch.control.base.quotas import check_limit, quotas_of
from netorch.control.base.structure import delete_part
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError, UnreadableRecord
from netorch.model.endpoints.endpoint import EndpointState, EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import MOST_SUBNETS, EndpointConnection, EndpointService, connection_of
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id
from netorch.model.security import SecurityGroup
from netorch.model.services.private_names import endpoint_name
from netorch.model.services.zones import VpcZone, domain_violation
from netorch.model.vpc import Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, invalid, not_found
from netorch.records.read import Stored, get, read, read_all, read_vpc
from netorch.store.base import Store


class InterfaceEndpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An interface endpoint with its parts."""

    endpoint: VpcEndpoint
    vpc: Vpc
    addresses: tuple[str, ...]
    subnets: tuple[str, ...]  # ids
    groups: tuple[str, ...]
    edges: tuple[str, ...]

    @property
    def dns_name(self) -> str:
        """Return the DNS name by which instances of its VPC reach it, if the VPC has DNS host names."""
        return endpoint_name(self.endpoint.id, self.endpoint.service)


def create_interface_endpoint(
    store: Store,
    caller: Caller,
    vpc_id: str,
    service_id: str,
    *,
    subnets: Sequence[str],
    groups: Sequence[str] = (),
    name: str = "",
    private_dns: bool = False,
    tags: Tags | None = None,
) -> VpcEndpoint:
    """Create an endpoint of a service in a VPC, with one interface per subnet and common security groups, and return it.

    It is available at once unless the provider must accept it.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidServiceName for a service that does not exist or is not offered to the VPC's
        owner, InvalidSubnetID.NotFound, InvalidGroup.NotFound, VpcEndpointLimitExceeded, InsufficientFreeAddressesInSubnet,
        InvalidParameterValue for a bad or taken name, a service of this VPC, a part of another VPC, or impossible private DNS.
    """
    where = f"endpoint {name!r}" if name else "endpoint"

    def decide() -> tuple[Writes, VpcEndpoint]:
        vpc = read_vpc(store, caller, vpc_id)
        provider, service = _offered(store, caller, where, vpc.record, service_id)
        _check_room(store, where, vpc.record, name)
        chosen, writes = choose_groups(store, caller, vpc.record, groups), Writes()
        for each in (vpc, provider):
            guard_structure(writes, each)
        join(writes, chosen)
        endpoint_id = caller.new_id("vpce", vpc.record.vni)
        connection = _connect(writes, store, caller, vpc.record, provider, service, endpoint_id)
        endpoint = VpcEndpoint(
            id=endpoint_id,
            vni=vpc.record.vni,
            type=EndpointType.INTERFACE,
            service=service_id,
            name=name,
            state=connection.state,
            interfaces=interface_writes(writes, store, caller, where, vpc, endpoint_id, subnets, chosen),
            private_dns=private_dns,
            private_dns_name=_private_name(store, where, vpc.record, service.record) if private_dns else "",
            tags=checks.tags(where, tags),
        )
        writes.create(keys.resource(endpoint.id), endpoint)
        add_name(writes, vpc.record, endpoint)
        return writes, endpoint

    return attempt(store, decide)


def _private_name(store: Store, where: str, vpc: Vpc, service: EndpointService) -> str:
    return private_name(where, vpc, service, zones_in(store, vpc.vni), endpoints_in(store, vpc.vni))


def private_name(
    where: str, vpc: Vpc, service: EndpointService, zones: Iterable[VpcZone], endpoints: Iterable[VpcEndpoint]
) -> str:
    """Return a service's private DNS name, if it conflicts with no zone or endpoint of the VPC. Raises ApiError."""
    if not service.private_dns_name:
        raise invalid(where, f"{service.id} has no private DNS name", "leave private DNS out")
    if not vpc.has_hostnames:
        fix = f"netorch vpc modify {vpc.owner}/{vpc.name} --dns-support --dns-hostnames"
        raise invalid(where, f"private DNS needs DNS support and DNS host names, and {vpc.id} does not have both", fix)
    if violation := domain_violation(service.private_dns_name):
        raise invalid(where, violation.what, "leave private DNS out")
    if known := zone_of(service.private_dns_name, zones, endpoints):
        raise invalid(where, f"{known} already has the domain {service.private_dns_name} in {vpc.id}", "leave private DNS out")
    return service.private_dns_name


def _connect(
    writes: Writes,
    store: Store,
    caller: Caller,
    vpc: Vpc,
    provider: Stored[Vpc],
    service: Stored[EndpointService],
    endpoint_id: str,
) -> EndpointConnection:
    """Add a new endpoint's connection to both VPCs, and return it: pending if the provider must accept it."""
    connection = EndpointConnection(
        id=connection_of(endpoint_id),
        vni=vpc.vni,
        service=service.record.id,
        endpoint=endpoint_id,
        owner=vpc.owner,
        created=int(caller.now()),
    )
    writes.expect(keys.resource(service.record.id), service.mod_revision)
    if not service.record.acceptance_required:
        connection = activate(writes, store, caller, provider, service, connection)
    for vni in (connection.consumer, connection.provider):
        writes.create(keys.member(vni, connection.id), msgspec.structs.replace(connection, vni=vni))
    return connection


def _offered(store: Store, caller: Caller, where: str, vpc: Vpc, service_id: str) -> tuple[Stored[Vpc], Stored[EndpointService]]:
    """Return a service that a VPC's owner may use, with its VPC. Raises ApiError: InvalidServiceName."""
    found = None
    if is_id(service_id, "vpce-svc"):
        with suppress(ApiError, UnreadableRecord):
            found = read(store, msgspec.structs.replace(caller, operator=True), EndpointService, service_id)
    if found is None or not (found[0].record.owner == vpc.owner or found[1].record.admits(vpc.owner)):
        raise not_offered(where, service_id, vpc.owner)
    if found[0].record.vni == vpc.vni:
        raise invalid(where, f"{service_id} is a service of the same VPC", "reach its targets by their own addresses")
    return found


def not_offered(where: str, service: str, owner: str) -> ApiError:
    """Return the error for an unknown service, or one that an owner may not use: both look the same."""
    text = f"{where}: the endpoint service {service!r} does not exist, or is not offered to {owner}"
    return ApiError("InvalidServiceName", f"{text}; ask its provider to name {owner} among its principals")


def _check_room(store: Store, where: str, vpc: Vpc, name: str) -> None:
    """Refuse a taken name, and an endpoint beyond the quota. Raises ApiError."""
    others = [stored.record for stored in read_all(store, VpcEndpoint, vpc.vni).values()]
    if name:
        checks.name(where, name)
        if any(other.name == name for other in others):
            raise duplicate_name("vpce", name, "the VPC")
    count = sum(other.type is EndpointType.INTERFACE for other in others) + 1
    limit, noun = "interface_endpoints_per_vpc", "interface endpoints"
    check_limit(quotas_of(store, vpc.owner), limit, "VpcEndpointLimitExceeded", f"VPC {vpc.id}", count, noun)


def interface_writes(
    writes: Writes,
    store: Store,
    caller: Caller,
    where: str,
    vpc: Stored[Vpc],
    endpoint_id: str,
    subnets: Sequence[str],
    groups: dict[str, Stored[SecurityGroup]],
) -> tuple[str, ...]:
    """Add an interface in each given subnet, and return their ids. Raises ApiError."""
    wanted, vni = list(dict.fromkeys(subnets)), vpc.record.vni
    if not 0 < len(wanted) <= MOST_SUBNETS:
        raise invalid(where, f"it has {len(wanted)} subnets", f"name 1 to {MOST_SUBNETS}")
    taken, made = enis.room_for_interfaces(store, vpc.record, len(wanted)), []
    macs = enis.macs_taken(store, vni)
    for subnet_id in wanted:
        owner, subnet = read(store, caller, Subnet, subnet_id)
        if owner.record.vni != vni:
            raise invalid(where, f"subnet {subnet_id} belongs to {owner.record.id}", f"choose one of {vpc.record.id}")
        pool = open_pool(store, subnet.record)
        eni = NetworkInterface(
            id=enis.fresh_id(caller, "eni", vni, taken),
            vni=vni,
            subnet=subnet_id,
            mac=enis.choose_mac(macs, caller, where, ""),
            address=pool.next(4),
            groups=tuple(groups),
            gateway=endpoint_id,
        )
        writes.expect(keys.resource(subnet_id), subnet.mod_revision)
        pool.save(writes)
        enis.create_writes(writes, vpc.record, eni)
        enis.hold_addresses(writes, eni)
        made.append(eni.id)
    return tuple(made)


def delete_interface_endpoint(store: Store, caller: Caller, endpoint_id: str) -> None:
    """Delete an interface endpoint with its interfaces, and its connection on both sides.

    Raises:
      ApiError: InvalidVpcEndpointId.NotFound.
    """

    def decide() -> tuple[Writes, None]:
        vpc, stored = read_interface(store, caller, endpoint_id)
        writes = Writes()
        delete_writes(writes, store, caller, vpc, stored)
        return writes, None

    attempt(store, decide)


def delete_writes(writes: Writes, store: Store, caller: Caller, vpc: Stored[Vpc], stored: Stored[VpcEndpoint]) -> None:
    """Add the deletion of an interface endpoint. Its connection may be gone already, if its service was deleted."""
    endpoint = stored.record
    connection = get(store, keys.member(endpoint.vni, connection_of(endpoint.id)), EndpointConnection)
    if connection is not None:
        Link(store, caller, connection.record).end(writes)
    logs, publics = logs_of(store, endpoint.vni), publics_of(store, vpc.record, caller.now())
    for eni_id in endpoint.interfaces:
        eni = get(store, keys.resource(eni_id), NetworkInterface)
        if eni is not None:
            enis.delete_writes(writes, vpc.record, eni, {}, logs, publics)
    delete_part(writes, vpc, stored)


def read_interface(store: Store, caller: Caller, endpoint_id: str) -> tuple[Stored[Vpc], Stored[VpcEndpoint]]:
    """Return an interface endpoint and its VPC. Raises ApiError: InvalidVpcEndpointId.NotFound, also for a gateway endpoint."""
    vpc, stored = read(store, caller, VpcEndpoint, endpoint_id)
    if stored.record.type is not EndpointType.INTERFACE:
        raise not_found("vpce", endpoint_id)
    return vpc, stored


def describe_interface_endpoints(store: Store, caller: Caller, vpc_id: str) -> list[InterfaceEndpointInfo]:
    """Return a VPC's interface endpoints by name. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    endpoints = (stored.record for stored in read_all(store, VpcEndpoint, vpc.vni).values())
    found = sorted((one for one in endpoints if one.type is EndpointType.INTERFACE), key=lambda one: (one.name, one.id))
    return [_info(store, vpc, endpoint) for endpoint in found]


def describe_interface_endpoint(store: Store, caller: Caller, endpoint_id: str) -> InterfaceEndpointInfo:
    """Return one interface endpoint. Raises ApiError: InvalidVpcEndpointId.NotFound."""
    vpc, stored = read_interface(store, caller, endpoint_id)
    return _info(store, vpc.record, stored.record)


def _info(store: Store, vpc: Vpc, endpoint: VpcEndpoint) -> InterfaceEndpointInfo:
    found = (get(store, keys.resource(eni_id), NetworkInterface) for eni_id in endpoint.interfaces)
    held = [eni.record for eni in found if eni is not None]
    is_available = endpoint.state is EndpointState.AVAILABLE
    return InterfaceEndpointInfo(
        endpoint=endpoint,
        vpc=vpc,
        addresses=tuple(eni.address for eni in held),
        subnets=tuple(eni.subnet for eni in held),
        groups=held[0].groups if held else (),
        edges=carried_by(store, vpc.vni, connection_of(endpoint.id)) if is_available else (),
    )
