"""What a record refers to, by its kind: what must exist beside it."""

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

Reference = tuple[type, str]  # the type of a record of the same VPC, and its id; of a mapping, what stands behind map/<vni>/


# Whose an interface may be that belongs to no instance, by the prefix of the id.
_HOLDERS: Final[dict[str, type]] = {"nat": NatGateway, "vpce": VpcEndpoint, "vpce-svc": EndpointService}


def nothing(_record: object) -> Iterator[Reference]:
    """Yield nothing."""
    return iter(())


def of_vpc(vpc: Vpc) -> Iterator[Reference]:
    """Yield what every VPC has."""
    yield SecurityGroup, default_group_id(vpc.id)
    yield NetworkAcl, default_acl_id(vpc.id)


def of_subnet(subnet: Subnet) -> Iterator[Reference]:
    """Yield its route table and ACL, if it names them."""
    if subnet.route_table:
        yield RouteTable, subnet.route_table
    if subnet.acl:
        yield NetworkAcl, subnet.acl


def of_table(table: RouteTable) -> Iterator[Reference]:
    """Yield the prefix lists, and the gateways that propagate; a target may be gone, then its route is a black hole."""
    for route in table.routes:
        if route.destination.startswith(LIST_PREFIX):
            yield PrefixList, route.destination
    for gateway in table.propagating:
        yield VirtualPrivateGateway, gateway


def of_interface(eni: NetworkInterface) -> Iterator[Reference]:
    """Yield what it is in, and the mappings of its addresses."""
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
    """Yield its own interface."""
    yield NetworkInterface, primary_eni_id(instance.id)


def of_group(group: SecurityGroup) -> Iterator[Reference]:
    """Yield what its rules refer to; a peer's group may be gone, then its rule permits nothing."""
    own = (peer for peer in referred(group) if vni_of(peer) == group.vni)
    for peer in own:
        yield (SecurityGroup if peer.startswith(GROUP_PREFIX) else PrefixList), peer


def of_gateway(gateway: OnlyGateway) -> Iterator[Reference]:
    """Yield where it is."""
    yield GatewayMapping, gateway.id


def of_endpoint(endpoint: VpcEndpoint) -> Iterator[Reference]:
    """Yield where a gateway endpoint is, and the list of its service's prefixes; or the interfaces of an interface endpoint."""
    if endpoint.type is EndpointType.GATEWAY:
        yield GatewayMapping, endpoint.id
        yield PrefixList, endpoint.prefix_list
    for eni_id in endpoint.interfaces:
        yield NetworkInterface, eni_id


def of_nat_gateway(gateway: NatGateway) -> Iterator[Reference]:
    """Yield where it is, and its interface."""
    yield GatewayMapping, gateway.id
    yield Subnet, gateway.subnet
    yield NetworkInterface, gateway.eni


def of_endpoint_service(service: EndpointService) -> Iterator[Reference]:
    """Yield where it is, and the subnets of its connections' addresses; a target may be gone, then it gets nothing."""
    yield GatewayMapping, service.id
    for subnet in service.subnets:
        yield Subnet, subnet


def of_endpoint_connection(connection: EndpointConnection) -> Iterator[Reference]:
    """Yield what it needs in the VPC that has this record: where it is, or the provider's side of it."""
    if connection.vni == connection.consumer:
        yield VpcEndpoint, connection.endpoint
        if connection.eni:
            yield GatewayMapping, connection.id
    else:
        yield EndpointService, connection.service
        if connection.eni:
            yield NetworkInterface, connection.eni


def of_vpn_connection(connection: VpnConnection) -> Iterator[Reference]:
    """Yield the gateway that it ends at."""
    yield VirtualPrivateGateway, connection.gateway


def of_virtual_interface(vif: VirtualInterface) -> Iterator[Reference]:
    """Yield its gateway; what was rejected keeps nothing."""
    if not vif.rejected:
        yield VirtualPrivateGateway, vif.gateway
