"""Services, endpoints and DHCP options sets as a vpc.yaml declares them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netorch.control.apply.builder import visible_tags
from netorch.control.base.endpoints.gateway import tables_of
from netorch.model.endpoints.declared import (
    BucketDecl,
    EndpointServiceDecl,
    GatewayEndpointDecl,
    GatewayServiceDecl,
    InterfaceEndpointDecl,
)
from netorch.model.endpoints.endpoint import BucketPolicy, EndpointState, EndpointType, GatewayService, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService, connection_of, port_text
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.normal import normal_endpoint_services, normal_interface_endpoints
from netorch.model.security import SecurityGroup
from netorch.model.services.declared import DhcpOptionsDecl
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords


def declared_service(service: GatewayService) -> GatewayServiceDecl:
    """Return the declaration of an operator's service."""
    return GatewayServiceDecl(
        name=service.name,
        prefixes=list(service.prefixes),
        upstream=service.upstream,
        tls=service.tls,
        hosts=list(service.hosts),
        tags=service.tags,
    )


def declared_bucket(bucket: BucketPolicy) -> BucketDecl:
    """Return the declaration of a bucket."""
    return BucketDecl(name=bucket.name, service=bucket.service, owner=bucket.owner, policy=bucket.policy, tags=bucket.tags)


def declared_endpoint(records: VpcRecords, endpoint: VpcEndpoint) -> GatewayEndpointDecl:
    """Return the declaration of a gateway endpoint."""
    leading = tables_of(endpoint.id, records.each(RouteTable))
    return GatewayEndpointDecl(
        name=endpoint.name or endpoint.id,
        service=endpoint.service,
        route_tables=[records.of(RouteTable)[table].record.name for table in leading],
        policy=endpoint.policy,
        tags=endpoint.tags,
    )


def declared_options_set(found: DhcpOptionsSet) -> DhcpOptionsDecl:
    """Return the declaration of a DHCP options set."""
    told = msgspec.structs.asdict(found.options)
    lists = {field: list(value) for field, value in told.items() if isinstance(value, tuple)}
    return DhcpOptionsDecl(name=found.name, owner=found.owner, tags=visible_tags(found.tags), **{**told, **lists})


def called_across(inventory: Inventory, caller: Caller) -> dict[str, str]:
    """Return the names OWNER/VPC/NAME of services and endpoints by id, for those that the caller sees.

    The id of an endpoint's connection stands for the endpoint.
    """
    found: dict[str, str] = {}
    for records in inventory.vpcs.values():
        vpc = records.vpc.record
        if caller.sees(vpc.owner):
            path = f"{vpc.owner}/{vpc.name}"
            found |= {service.id: f"{path}/{service.name}" for service in records.each(EndpointService)}
            named = (endpoint for endpoint in records.each(VpcEndpoint) if endpoint.name)
            found |= {connection_of(endpoint.id): f"{path}/{endpoint.name}" for endpoint in named}
    return found


def declared_interface_endpoints(records: VpcRecords, names: Mapping[str, str]) -> list[InterfaceEndpointDecl]:
    """Return the declarations of a VPC's interface endpoints; `names` holds the names of services by id."""
    found = []
    for endpoint in records.each(VpcEndpoint):
        if endpoint.type is not EndpointType.INTERFACE:
            continue
        held = [eni for eni_id in endpoint.interfaces if (eni := records.one(NetworkInterface, eni_id)) is not None]
        groups = sorted({group for eni in held for group in eni.groups})
        decl = InterfaceEndpointDecl(
            name=endpoint.name or endpoint.id,
            service=names.get(endpoint.service, endpoint.service),
            subnets=[records.of(Subnet)[eni.subnet].record.name for eni in held],
            security_groups=[records.of(SecurityGroup)[group].record.name for group in groups],
            private_dns=endpoint.private_dns,
            tags=endpoint.tags,
        )
        found.append(decl)
    return normal_interface_endpoints(records.vpc.record.owner, found)


def declared_endpoint_services(records: VpcRecords, names: Mapping[str, str]) -> list[EndpointServiceDecl]:
    """Return the declarations of a VPC's services; `names` holds the names of endpoints by the ids of their connections."""
    return normal_endpoint_services(_offered(records, service, names) for service in records.each(EndpointService))


def _offered(records: VpcRecords, service: EndpointService, names: Mapping[str, str]) -> EndpointServiceDecl:
    accepted = [
        names.get(connection.id, connection.id)
        for connection in records.each(EndpointConnection)
        if connection.service == service.id and connection.state is EndpointState.AVAILABLE
    ]
    return EndpointServiceDecl(
        name=service.name,
        subnets=[records.of(Subnet)[subnet].record.name for subnet in service.subnets if subnet in records.of(Subnet)],
        ports=list(map(port_text, service.ports)),
        targets=[_target(records, target) for target in service.targets],
        acceptance_required=service.acceptance_required,
        principals=list(service.principals),
        accept=accepted if service.acceptance_required else msgspec.UNSET,
        private_dns_name=service.private_dns_name,
        proxy_protocol=service.proxy_protocol,
        tags=service.tags,
    )


def _target(records: VpcRecords, eni_id: str) -> str:
    """Return a target's name in a file: the instance if the target is its primary interface, else the id."""
    eni = records.one(NetworkInterface, eni_id)
    instance = records.one(Instance, eni.instance) if eni is not None and eni.instance else None
    return instance.name if instance is not None and primary_eni_id(instance.id) == eni_id else eni_id
