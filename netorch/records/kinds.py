"""The table of all kinds of resources. No other module lists them.

A new kind needs one entry in this table, a record in `netorch/model`, checks, actions, a command and a compiler. Keys, listings,
name lookups, references, tags, filters, errors and the agent's mirror read this table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar, cast

from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService, VpcEndpoint
from netorch.model.endpoints.endpoint_service import EndpointConnection, EndpointService
from netorch.model.eni import Host, Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.ids import is_id
from netorch.model.mapping import GatewayMapping, Mapping, PublicMapping, Reach
from netorch.model.outside.direct_connect import Connection, VirtualInterface
from netorch.model.outside.gateway import EgressOnlyInternetGateway, InternetGateway, NatGateway
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.outside.vpn import CustomerGateway, VirtualPrivateGateway, VpnConnection
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import DEFAULT_NAME, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.services.dhcp_options import DhcpOptionsSet
from netorch.model.services.zones import PrivateZone, VpcZone
from netorch.model.vpc import MAIN_ROUTE_TABLE, RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.kind import Kind, Scope
from netorch.records.valid import direct_connect, endpoint_services, endpoints, members, outside, refers, services, vpn

T = TypeVar("T")


_ALL: Final[tuple[Kind[Any], ...]] = (
    Kind(
        type=Vpc,
        prefix="vpc",
        noun="VPC",
        command="vpc",
        not_found="InvalidVpcID.NotFound",
        limit="VpcLimitExceeded",
        check=members.check_vpc,
        unique_names=False,  # unique per owner instead: a key below name/
        refers=refers.of_vpc,
    ),
    Kind(
        type=Subnet,
        prefix="subnet",
        noun="subnet",
        command="subnet",
        not_found="InvalidSubnetID.NotFound",
        limit="SubnetLimitExceeded",
        check=members.check_subnet,
        refers=refers.of_subnet,
    ),
    Kind(
        type=NetworkInterface,
        prefix="eni",
        noun="network interface",
        command="eni",
        not_found="InvalidNetworkInterfaceID.NotFound",
        limit="NetworkInterfaceLimitExceeded",
        check=members.check_interface,
        unique_names=False,
        borrows=(Instance, "instance"),
        placed=True,
        refers=refers.of_interface,
    ),
    Kind(
        type=Instance,
        prefix="i",
        noun="instance",
        command="instance",
        not_found="InvalidInstanceID.NotFound",
        check=members.check_instance,
        refers=refers.of_instance,
    ),
    Kind(
        type=RouteTable,
        prefix="rtb",
        noun="route table",
        command="route-table",
        not_found="InvalidRouteTableID.NotFound",
        limit="RouteTableLimitExceeded",
        check=members.check_route_table,
        given=MAIN_ROUTE_TABLE,
        refers=refers.of_table,
        goes_along=lambda table: table.main,
    ),
    Kind(
        type=SecurityGroup,
        prefix="sg",
        noun="security group",
        command="sg",
        not_found="InvalidGroup.NotFound",
        limit="SecurityGroupLimitExceeded",
        duplicate="InvalidGroup.Duplicate",
        check=members.check_group,
        given=DEFAULT_NAME,
        prefixed=True,
        refers=refers.of_group,
        goes_along=lambda group: group.is_default,
    ),
    Kind(
        type=NetworkAcl,
        prefix="acl",
        noun="network ACL",
        command="nacl",
        not_found="InvalidNetworkAclID.NotFound",
        limit="NetworkAclLimitExceeded",
        check=members.check_acl,
        given=DEFAULT_NAME,
        goes_along=lambda acl: acl.is_default,
    ),
    Kind(
        type=PrefixList,
        prefix="pl",
        noun="prefix list",
        command="prefix-list",
        not_found="InvalidPrefixListID.NotFound",
        limit="PrefixListLimitExceeded",
        check=members.check_prefix_list,
        prefixed=True,
        goes_along=lambda found: bool(found.service),  # its endpoints prevent the VPC's deletion
    ),
    Kind(
        type=FlowLog,
        prefix="fl",
        noun="flow log",
        command="flow-log",
        not_found="InvalidFlowLogId.NotFound",
        limit="FlowLogsLimitExceeded",
        check=members.check_flow_log,
        isolates=False,
        unique_names=False,
        goes_along=lambda log: True,
    ),
    Kind(
        type=PeeringConnection,
        prefix="pcx",
        noun="peering connection",
        command="peering",
        not_found="InvalidVpcPeeringConnectionID.NotFound",
        limit="ActiveVpcPeeringConnectionPerVpcLimitExceeded",
        check=members.check_peering,
        unique_names=False,  # the accepter's name may be empty
        placed=True,  # edges carry mapped connections
        shared_with=lambda connection: connection.peer_vni,
        goes_along=lambda connection: True,
    ),
    Kind(
        type=InternetGateway,
        prefix="igw",
        noun="internet gateway",
        command="igw",
        not_found="InvalidInternetGatewayID.NotFound",
        limit="InternetGatewayLimitExceeded",
        check=outside.check_internet_gateway,
        placed=True,
        refers=refers.of_gateway,
    ),
    Kind(
        type=EgressOnlyInternetGateway,
        prefix="eigw",
        noun="egress-only internet gateway",
        command="eigw",
        not_found="InvalidEgressOnlyInternetGatewayId.NotFound",
        limit="EgressOnlyInternetGatewayLimitExceeded",
        check=outside.check_egress_only_gateway,
        placed=True,
        refers=refers.of_gateway,
    ),
    Kind(
        type=NatGateway,
        prefix="nat",
        noun="NAT gateway",
        command="nat",
        not_found="NatGatewayNotFound",
        limit="NatGatewayLimitExceeded",
        check=outside.check_nat_gateway,
        placed=True,
        refers=refers.of_nat_gateway,
    ),
    Kind(
        type=EndpointService,
        prefix="vpce-svc",
        noun="endpoint service",
        command="endpoint-service",
        not_found="InvalidVpcEndpointServiceId.NotFound",
        limit="VpcEndpointServiceLimitExceeded",
        check=endpoint_services.check_service,
        placed=True,
        refers=refers.of_endpoint_service,
    ),
    Kind(
        type=EndpointConnection,
        prefix="vpce-con",
        noun="endpoint connection",
        command="endpoint-service connection",
        not_found="InvalidVpcEndpointId.NotFound",
        check=endpoint_services.check_connection,
        unique_names=False,
        borrows=(VpcEndpoint, "endpoint"),
        placed=True,
        refers=refers.of_endpoint_connection,
        shared_with=lambda connection: connection.other,
    ),
    Kind(
        type=VirtualInterface,
        prefix="dxvif",
        noun="virtual interface",
        command="dx vif",
        not_found="DirectConnectClientException",  # Direct Connect has no code per kind
        duplicate="DirectConnectClientException",
        check=direct_connect.check_virtual_interface,
        refers=refers.of_virtual_interface,
        goes_along=lambda vif: vif.rejected,
    ),
    Kind(
        type=VirtualPrivateGateway,
        prefix="vgw",
        noun="virtual private gateway",
        command="vgw",
        not_found="InvalidVpnGatewayID.NotFound",
        limit="VpnGatewayLimitExceeded",
        check=vpn.check_virtual_private_gateway,
        placed=True,
        refers=refers.of_gateway,
    ),
    Kind(
        type=VpnConnection,
        prefix="vpn",
        noun="VPN connection",
        command="vpn",
        not_found="InvalidVpnConnectionID.NotFound",
        limit="VpnConnectionLimitExceeded",
        check=vpn.check_vpn_connection,
        refers=refers.of_vpn_connection,
    ),
    Kind(
        type=VpcEndpoint,
        prefix="vpce",
        noun="endpoint",
        command="endpoint",
        not_found="InvalidVpcEndpointId.NotFound",
        limit="VpcEndpointLimitExceeded",
        check=endpoints.check_endpoint,
        placed=True,
        refers=refers.of_endpoint,
    ),
    Kind(
        type=CustomerGateway,
        prefix="cgw",
        noun="customer gateway",
        command="cgw",
        not_found="InvalidCustomerGatewayID.NotFound",
        limit="CustomerGatewayLimitExceeded",
        check=vpn.check_customer_gateway,
        scope=Scope.OWNER,
        root="cgw",
        unique_names=False,
    ),
    Kind(
        type=DhcpOptionsSet,
        prefix="dopt",
        noun="DHCP options set",
        command="dhcp-options",
        not_found="InvalidDhcpOptionID.NotFound",
        limit="DhcpOptionsLimitExceeded",
        check=services.check_dhcp_options,
        scope=Scope.OWNER,
        root="dopt",
        unique_names=False,
    ),
    Kind(
        type=PrivateZone,
        prefix="zone",
        noun="private zone",
        command="zone",
        not_found="NoSuchHostedZone",  # Route 53's code, also below
        limit="TooManyHostedZones",
        duplicate="HostedZoneAlreadyExists",
        check=services.check_zone,
        scope=Scope.OWNER,
        root="zone",
        unique_names=False,
    ),
    Kind(
        type=Connection,
        prefix="dxcon",
        noun="connection",
        command="dx connection",
        not_found="DirectConnectClientException",
        duplicate="DirectConnectClientException",
        check=direct_connect.check_connection,
        scope=Scope.OPERATOR,
        at=keys.connection,
        unique_names=False,
    ),
    Kind(
        type=ElasticIp,
        prefix="eipalloc",
        noun="elastic IP address",
        command="address",
        not_found="InvalidAllocationID.NotFound",
        limit="AddressLimitExceeded",
        check=outside.check_elastic_ip,
        scope=Scope.OWNER,
        root="eip",
        unique_names=False,
    ),
    Kind(
        type=AddressPool,
        prefix="pool",
        noun="address pool",
        command="address pool",
        not_found="InvalidPublicIpv4PoolID.NotFound",
        check=outside.check_pool,
        scope=Scope.OPERATOR,
        at=keys.pool,
        unique_names=False,
    ),
    Kind(
        type=GatewayService,
        prefix="gwsvc",
        noun="gateway service",
        command="endpoint service",
        not_found="InvalidServiceName",
        check=endpoints.check_service,
        scope=Scope.OPERATOR,
        at=keys.service,
        unique_names=False,
    ),
    Kind(
        type=BucketPolicy,
        prefix="bucket",
        noun="bucket",
        command="endpoint bucket-policy",
        not_found="NoSuchBucket",  # S3's code
        check=endpoints.check_bucket,
        scope=Scope.OPERATOR,
        at=keys.bucket,
        unique_names=False,
    ),
    Kind(
        type=Host,
        prefix="host",
        noun="host",
        command="host",
        not_found="InvalidHostID.NotFound",  # EC2's code for dedicated hosts
        check=outside.check_host,
        scope=Scope.OPERATOR,
        at=keys.host_spec,
        unique_names=False,
    ),
)
BY_PREFIX: Final[dict[str, Kind[Any]]] = {kind.prefix: kind for kind in _ALL}
BY_TYPE: Final[dict[type, Kind[Any]]] = {kind.type: kind for kind in _ALL}


def kind_of(of: type[T]) -> Kind[T]:
    """Return the kind of resource with this record type."""
    return cast("Kind[T]", BY_TYPE[of])


def keys_of(record: Any) -> list[str]:  # noqa: ANN401 - any resource of a VPC
    """Return the keys of a VPC's resource; a shared resource has one key in each of its two VPCs.

    For a mapped peering connection, this includes its placements on edges, which are deleted with it.
    """
    kind = BY_TYPE[type(record)]
    vnis = [record.vni, kind.shared_with(record)] if kind.shared_with is not None else [record.vni]
    seats = record.seats if isinstance(record, PeeringConnection) else ()
    return [*(keys.member(vni, record.id) for vni in vnis), *(keys.placement(seat.host, record.id) for seat in seats)]


def of_vpc() -> Iterator[Kind[Any]]:
    """Yield the kinds of a VPC's resources, without the VPC itself."""
    return (kind for kind in BY_PREFIX.values() if kind.scope is Scope.VPC and kind.type is not Vpc)


MAPPINGS: Final = (Mapping, GatewayMapping, PublicMapping, Reach, VpcZone)


def mapped(name: str) -> type[Mapping] | type[GatewayMapping] | type[PublicMapping] | type[Reach] | type[VpcZone]:
    """Return the type of the mapping at `map/<vni>/<name>`."""
    if name.startswith(keys.PUBLIC):
        return PublicMapping
    if name.startswith(keys.REACH):
        return Reach
    if name.startswith(keys.ZONE):
        return VpcZone
    return GatewayMapping if is_id(name) else Mapping


def compiled() -> list[type]:
    """Return the record types that a compiler must read, so that no firewall is silently ignored."""
    kinds = (kind for kind in BY_TYPE.values() if kind.scope is Scope.VPC and kind.isolates)
    return [*MAPPINGS, *(kind.type for kind in kinds)]
