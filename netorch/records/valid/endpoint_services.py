"""Checks of stored endpoint services and endpoint connections. See netorch.records.valid.members."""

from __future__ import annotations

from netorch.model import rules
from netorch.model.endpoints.endpoint import EndpointState
from netorch.model.endpoints.endpoint_service import (
    EVERYBODY,
    MOST_PORTS,
    MOST_TARGETS,
    PROTOCOLS,
    EndpointConnection,
    EndpointService,
    ServicePort,
    connection_of,
)
from netorch.records import keys
from netorch.records.valid.needs import (
    Invalid,
    name_violation,
    need,
    need_address,
    need_id,
    need_key,
    need_labels,
    need_member,
    need_single,
)

_PORTS = range(1, 65536)


def check_service(key: str, service: EndpointService) -> None:
    """Check an endpoint service. Raises Invalid."""
    need_member(key, service, "vpce-svc")
    need("name", name_violation(service.name))
    for field, kind, ids in (("subnets", "subnet", service.subnets), ("targets", "eni", service.targets)):
        for resource_id in ids:
            need_id(field, resource_id, kind, service.vni)
        need_single(field, ids)
    if not service.subnets:
        raise Invalid("subnets: there are none")
    if len(service.targets) > MOST_TARGETS:
        raise Invalid(f"targets: there are {len(service.targets)}, more than {MOST_TARGETS}")
    _check_ports(service.ports)
    for owner in service.principals:
        if owner != EVERYBODY:
            need("principals", name_violation(owner))
    need_single("principals", service.principals)
    if service.private_dns_name:
        need("private_dns_name", rules.dns_name(service.private_dns_name))


def _check_ports(ports: tuple[ServicePort, ...]) -> None:
    if not 0 < len(ports) <= MOST_PORTS:
        raise Invalid(f"ports: there are {len(ports)}; 1 to {MOST_PORTS} are allowed")
    for each in ports:
        if each.protocol not in PROTOCOLS.values() or each.port not in _PORTS or each.target_port not in _PORTS:
            raise Invalid(f"ports: protocol {each.protocol}, {each.port} to {each.target_port} is not TCP or UDP")
    need_single("ports", (f"protocol {each.protocol}, {each.port}" for each in ports))


def check_connection(key: str, connection: EndpointConnection) -> None:
    """Check a connection. Raises Invalid."""
    need_key(key, keys.member(connection.vni, connection.id))
    need_labels(connection)
    need_id("service", connection.service, "vpce-svc")
    need_id("endpoint", connection.endpoint, "vpce")
    if connection.id != connection_of(connection.endpoint):
        raise Invalid(f"id: it is not {connection_of(connection.endpoint)}, that of the connection of {connection.endpoint}")
    if connection.vni not in (connection.consumer, connection.provider) or connection.consumer == connection.provider:
        raise Invalid(f"vni: {connection.vni} belongs to neither the endpoint nor the service, or both are in one VPC")
    need("owner", name_violation(connection.owner))
    if (connection.state is EndpointState.AVAILABLE) != bool(connection.eni) or bool(connection.eni) != bool(connection.address):
        raise Invalid("eni: it must have an interface and an address exactly while it is available")
    if connection.eni:
        need_id("eni", connection.eni, "eni", connection.provider)
        need_address("address", connection.address, 4)
