"""Services, endpoints, and what instances are told, as a vpc.yaml declares them."""

from __future__ import annotations

import msgspec

from netorch.control.apply.builder import visible_tags
from netorch.control.base.endpoints.gateway import tables_of
from netorch.model.endpoints.declared import BucketDecl, GatewayEndpointDecl, GatewayServiceDecl
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService, VpcEndpoint
from netorch.model.services.declared import DhcpOptionsDecl
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.vpc import RouteTable
from netorch.records.vpc import VpcRecords


def declared_service(service: GatewayService) -> GatewayServiceDecl:
    """Return the declaration of a service of the operator's."""
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
