"""The references of records by kind: the other records of the VPC that must exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.model.endpoints.endpoint import EndpointType, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.ids import prefix_of, vni_of
from netorch.model.mapping import GatewayMapping, Mapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import NatGateway, OnlyGateway
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection
from netorch.model.permission import GROUP_PREFIX, LIST_PREFIX
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup, default_acl_id, default_group_id, referred
from netorch.model.vpc import RouteTable, Subnet, Vpc

Reference = tuple[type, str]  # type and id of a record of the same VPC; for a mapping, its key after map/<vni>/


# Possible owners of an interface without an instance, by id prefix.
_HOLDERS: Final[dict[str, type]] = {"nat": NatGateway, "vpce": VpcEndpoint, "vpce-svc": EndpointService}


def nothing(_record: object) -> Iterator[Reference]:
    """Yield nothing."""
    return iter(())


def of_vpc(vpc: Vpc) -> Iterator[Reference]:
    """Yield the default group and the default ACL."""
    yield SecurityGroup, default_group_id(vpc.id)
    yield NetworkAcl, default_acl_id(vpc.id)


def of_subnet(subnet: Subnet) -> Iterator[Reference]:
    """Yield the subnet's route table and ACL, if it names them."""
    if subnet.route_table:
        yield RouteTable, subnet.route_table
    if subnet.acl:
        yield NetworkAcl, subnet.acl


def of_table(table: RouteTable) -> Iterator[Reference]:
    """Yield prefix lists and propagating gateways, but not targets: a route to a deleted target is a black hole."""
    for route in table.routes:
        if route.destination.startswith(LIST_PREFIX):
            yield PrefixList, route.destination
    for gateway in table.propagating:
        yield VirtualPrivateGateway, gateway


def of_interface(eni: NetworkInterface) -> Iterator[Reference]:
    """Yield subnet, groups, owner or instance, and the mappings of an attached interface."""
    yield Subnet, eni.subnet
    for group_id in eni.groups:
        yield SecurityGroup, group_id
    if eni.gateway:
        yield _HOLDERS[prefix_of(eni.gateway)], eni.gateway
    if eni.instance:
        yield Instance, eni.instance
        for address in eni.addresses:
            yield Mapping, address


def of_instance(instance: Instance) -> Iterator[Reference]:
    """Yield the primary interface."""
    yield NetworkInterface, primary_eni_id(instance.id)


def of_group(group: SecurityGroup) -> Iterator[Reference]:
    """Yield the VPC's groups and prefix lists in the rules. A peer's group may be deleted: its rule then permits nothing."""
    own = (peer for peer in referred(group) if vni_of(peer) == group.vni)
    for peer in own:
        yield (SecurityGroup if peer.startswith(GROUP_PREFIX) else PrefixList), peer


def of_gateway(gateway: OnlyGateway) -> Iterator[Reference]:
    """Yield the gateway's mapping."""
    yield GatewayMapping, gateway.id


def of_endpoint(endpoint: VpcEndpoint) -> Iterator[Reference]:
    """Yield the mapping and the prefix list of a gateway endpoint, or the interfaces of an interface endpoint."""
    if endpoint.type is EndpointType.GATEWAY:
        yield GatewayMapping, endpoint.id
        yield PrefixList, endpoint.prefix_list
    for eni_id in endpoint.interfaces:
        yield NetworkInterface, eni_id


def of_nat_gateway(gateway: NatGateway) -> Iterator[Reference]:
    """Yield the mapping, the subnet and the interface."""
    yield GatewayMapping, gateway.id
    yield Subnet, gateway.subnet
    yield NetworkInterface, gateway.eni


def of_endpoint_service(service: EndpointService) -> Iterator[Reference]:
    """Yield the mapping and the subnets, but not targets: a deleted target gets no traffic."""
    yield GatewayMapping, service.id
    for subnet in service.subnets:
        yield Subnet, subnet


def of_endpoint_connection(connection: EndpointConnection) -> Iterator[Reference]:
    """Yield the references in this record's VPC: the consumer's endpoint and mapping, or the provider's service and interface."""
    if connection.vni == connection.consumer:
        yield VpcEndpoint, connection.endpoint
        if connection.eni:
            yield GatewayMapping, connection.id
    else:
        yield EndpointService, connection.service
        if connection.eni:
            yield NetworkInterface, connection.eni


def of_vpn_connection(connection: VpnConnection) -> Iterator[Reference]:
    """Yield the virtual private gateway."""
    yield VirtualPrivateGateway, connection.gateway


def of_virtual_interface(vif: VirtualInterface) -> Iterator[Reference]:
    """Yield the virtual private gateway, unless the interface was rejected."""
    if not vif.rejected:
        yield VirtualPrivateGateway, vif.gateway
