"""Checks of stored endpoints, gateway services and buckets. See netorch.records.valid.members."""

from __future__ import annotations

from netorch.model.addr import first_overlaps
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.endpoint import NUMBER_FIRST, NUMBER_LAST, BucketPolicy, EndpointType, GatewayService, VpcEndpoint
from netorch.model.services.zones import domain_violation
from netorch.records import keys
from netorch.records.valid.needs import (
    Invalid,
    name_violation,
    need,
    need_cidr,
    need_id,
    need_key,
    need_labels,
    need_member,
    need_single,
)


def check_service(key: str, service: GatewayService) -> None:
    """Check a gateway service. Raises Invalid."""
    need_key(key, keys.service(service.name))
    need("name", endpoint_rules.service_name(service.name))
    if not 1 <= len(service.prefixes) <= endpoint_rules.MAX_PREFIXES:
        raise Invalid(f"prefixes: there are {len(service.prefixes)}")
    prefixes = [(need_cidr("prefixes", text, endpoint_rules.service_prefix), text) for text in service.prefixes]
    for first, second in first_overlaps(prefixes):
        raise Invalid(f"prefixes: {second} overlaps {first}")
    need("upstream", endpoint_rules.upstream(service.upstream))
    if service.tls:
        need("tls", endpoint_rules.socket_address(service.tls))
    for host in service.hosts:
        need("hosts", endpoint_rules.known_name(host))
    need_single("hosts", service.hosts)
    need_labels(service)


def check_bucket(key: str, bucket: BucketPolicy) -> None:
    """Check a bucket's record. Raises Invalid."""
    need_key(key, keys.bucket(bucket.name))
    need("name", endpoint_rules.bucket_name(bucket.name))
    need("service", endpoint_rules.service_name(bucket.service))
    need("owner", name_violation(bucket.owner))
    need("policy", endpoint_rules.policy_size(bucket.policy))
    need_labels(bucket)


def check_endpoint(key: str, endpoint: VpcEndpoint) -> None:
    """Check an endpoint. Raises Invalid."""
    need_member(key, endpoint, "vpce")
    if endpoint.name:
        need("name", name_violation(endpoint.name))
    need("policy", endpoint_rules.policy_size(endpoint.policy))
    for eni_id in endpoint.interfaces:
        need_id("interfaces", eni_id, "eni", endpoint.vni)
    need_single("interfaces", endpoint.interfaces)
    if endpoint.type is EndpointType.GATEWAY:
        _check_gateway(endpoint)
    elif endpoint.number or endpoint.prefix_list or endpoint.policy:
        raise Invalid("number: only a gateway endpoint has one, a prefix list, or a policy")
    else:
        need_id("service", endpoint.service, "vpce-svc")
        if not endpoint.interfaces:
            raise Invalid("interfaces: there are none")
        if endpoint.private_dns_name:
            need("private_dns_name", domain_violation(endpoint.private_dns_name))


def _check_gateway(endpoint: VpcEndpoint) -> None:
    need("service", endpoint_rules.service_name(endpoint.service))
    need_id("prefix_list", endpoint.prefix_list, "pl", endpoint.vni)
    if not NUMBER_FIRST <= endpoint.number <= NUMBER_LAST:
        raise Invalid(f"number: {endpoint.number} is out of range")
    if endpoint.interfaces or endpoint.private_dns:
        raise Invalid("interfaces: a gateway endpoint has no interfaces and no private DNS name")
