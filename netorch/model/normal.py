"""The normal form of a declaration: sorted, without fields that have their default value.

Declarations with the same meaning have the same normal form. `export` writes it and `diff` compares it. Input must be valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from netorch.model import flow_log, permission
from netorch.model.addr import parse_prefix
from netorch.model.check.peerings import peer_path
from netorch.model.cloud import (
    ALL_OUTBOUND,
    DEFAULT_ACL,
    DEFAULT_GROUP,
    DEFAULT_VPC_NAME,
    AclEntryDecl,
    AddressPoolDecl,
    ConnectionDecl,
    CustomerGatewayDecl,
    EgressDecl,
    ElasticIpDecl,
    FlowLogDecl,
    IngressDecl,
    InstanceDecl,
    NatGatewayDecl,
    NetworkAclDecl,
    PeeringDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    TunnelDecl,
    VirtualInterfaceDecl,
    VpcDecl,
    VpnConnectionDecl,
    main_name,
)
from netorch.model.endpoints.declared import (
    BucketDecl,
    EndpointServiceDecl,
    GatewayEndpointDecl,
    GatewayServiceDecl,
    InterfaceEndpointDecl,
    service_path,
)
from netorch.model.endpoints.endpoint import SERVICE_PREFIX
from netorch.model.endpoints.endpoint_rules import own_names
from netorch.model.endpoints.endpoint_service import ServicePort, port_text, read_port
from netorch.model.outside.vpn import ANY_CIDR
from netorch.model.routing.target import LOCAL
from netorch.model.routing.text import RouteWords, destination_order, parse_route
from netorch.model.rule_text import ports_text, protocol_text
from netorch.model.rules import Violation
from netorch.model.security import DEFAULT_DESCRIPTION, DEFAULT_NAME
from netorch.model.services.declared import DhcpOptionsDecl, MetadataOptionsDecl, declared_user_data, user_data
from netorch.model.services.declared_zones import PrivateZoneDecl, RecordSetDecl
from netorch.model.services.dhcp_options import DEFAULT_SET, DhcpOptions, normal
from netorch.model.services.zones import APEX, checked_values, plain, relative_name
from netorch.model.vpc import DEFAULT_OWNER, MAIN_ROUTE_TABLE

Rule = TypeVar("Rule", IngressDecl, EgressDecl)


def normal_vpc(vpc: VpcDecl) -> VpcDecl:
    """Return a VPC in normal form, so that two texts differ only where the VPCs differ."""
    options = "" if vpc.dhcp_options == DEFAULT_SET else vpc.dhcp_options
    fields = {field: write(vpc) for field, write in NORMAL.items()}
    usual = vpc.has_hostnames == (vpc.name == DEFAULT_VPC_NAME)
    named = msgspec.UNSET if usual else vpc.has_hostnames
    return msgspec.structs.replace(vpc, owner=_owner(vpc.owner), dhcp_options=options, enable_dns_hostnames=named, **fields)


def normal_pool(decl: AddressPoolDecl) -> AddressPoolDecl:
    """Return an address pool in normal form."""
    return msgspec.structs.replace(decl, cidrs=[str(prefix) for prefix in sorted(map(parse_prefix, decl.cidrs))])


def normal_connection(decl: ConnectionDecl) -> ConnectionDecl:
    """Return a Direct Connect connection in normal form."""
    return msgspec.structs.replace(decl, hosted=sorted(decl.hosted, key=lambda one: (one.outer_vlan, one.vlan)))


def normal_elastic_ip(decl: ElasticIpDecl) -> ElasticIpDecl:
    """Return an elastic IP in normal form."""
    return msgspec.structs.replace(decl, owner=_owner(decl.owner))


def normal_customer_gateway(decl: CustomerGatewayDecl) -> CustomerGatewayDecl:
    """Return a customer gateway in normal form."""
    return msgspec.structs.replace(decl, owner=_owner(decl.owner))


def normal_dhcp_options(decl: DhcpOptionsDecl) -> DhcpOptionsDecl:
    """Return a DHCP options set in normal form."""
    told = told_by(decl)
    servers = list(told.domain_name_servers)
    return msgspec.structs.replace(decl, owner=_owner(decl.owner), domain_name=told.domain_name, domain_name_servers=servers)


def normal_service(decl: GatewayServiceDecl) -> GatewayServiceDecl:
    """Return an operator's gateway service in normal form."""
    prefixes = [str(prefix) for prefix in sorted(map(parse_prefix, decl.prefixes))]
    return msgspec.structs.replace(decl, prefixes=prefixes, hosts=sorted(own_names(decl.name, decl.hosts)))


def normal_bucket(decl: BucketDecl) -> BucketDecl:
    """Return a bucket in normal form."""
    policy = decl.policy.strip() if isinstance(decl.policy, str) else decl.policy
    service = decl.service.removeprefix(SERVICE_PREFIX)
    return msgspec.structs.replace(decl, owner=_owner(decl.owner), service=service, policy=policy)


def normal_zone(decl: PrivateZoneDecl) -> PrivateZoneDecl:
    """Return a private zone in normal form."""
    domain = plain(decl.domain or decl.name)
    records = (_record_set(record, domain) for record in decl.records)
    return msgspec.structs.replace(
        decl,
        owner=_owner(decl.owner),
        domain="" if domain == plain(decl.name) else domain,
        vpcs=sorted(set(decl.vpcs)),
        records=sorted(records, key=lambda record: (record.name != APEX, record.name, record.type.value)),
    )


def _record_set(decl: RecordSetDecl, domain: str) -> RecordSetDecl:
    values = checked_values(decl.type, decl.values)
    found = decl.values if isinstance(values, Violation) else list(values)
    return msgspec.structs.replace(decl, name=relative_name(decl.name, domain), values=found)


def told_by(decl: DhcpOptionsDecl) -> DhcpOptions:
    """Return the DHCP options of a declared set in their stored form. The values may be invalid."""
    told = DhcpOptions(
        domain_name=decl.domain_name,
        domain_name_servers=tuple(decl.domain_name_servers),
        ntp_servers=tuple(decl.ntp_servers),
        netbios_name_servers=tuple(decl.netbios_name_servers),
        netbios_node_type=decl.netbios_node_type,
    )
    return normal(told)


def _owner(owner: str) -> str:
    return DEFAULT_OWNER if owner == DEFAULT_OWNER else owner  # msgspec leaves a default out by identity


def normal_lists(decls: Iterable[PrefixListDecl]) -> list[PrefixListDecl]:
    """Return prefix lists in normal form."""
    return sorted(map(_list, decls), key=lambda decl: decl.name)


def normal_groups(decls: Iterable[SecurityGroupDecl]) -> list[SecurityGroupDecl]:
    """Return security groups in normal form, without a default group that equals EC2's."""
    found = sorted(map(_group, decls), key=lambda decl: decl.name)
    return [decl for decl in found if decl != DEFAULT_GROUP]


def normal_acls(decls: Iterable[NetworkAclDecl]) -> list[NetworkAclDecl]:
    """Return network ACLs in normal form, without a default ACL that equals EC2's."""
    found = sorted((_acl(decl) for decl in decls), key=lambda decl: decl.name)
    return [decl for decl in found if decl != DEFAULT_ACL]


def normal_tables(decls: Iterable[RouteTableDecl]) -> list[RouteTableDecl]:
    """Return route tables in normal form, without a main table named `main` that has local routes only."""
    found = sorted((normal_table(decl) for decl in decls), key=lambda decl: decl.name)
    left_out = RouteTableDecl(name=MAIN_ROUTE_TABLE)
    return [decl for decl in found if decl != left_out or main_name(found) != MAIN_ROUTE_TABLE]


def normal_flow_logs(decls: Iterable[FlowLogDecl]) -> list[FlowLogDecl]:
    """Return flow logs in normal form."""
    return sorted((_flow_log(decl) for decl in decls), key=lambda decl: decl.name)


def _peerings(vpc: VpcDecl) -> list[PeeringDecl]:
    """Return peering connections sorted by name, with peers as owner/name or id."""
    paths = ((decl, peer_path(vpc.owner, decl.peer)) for decl in vpc.peerings)
    found = (msgspec.structs.replace(decl, peer=path if isinstance(path, str) else "/".join(path)) for decl, path in paths)
    return sorted(found, key=lambda decl: decl.name)


def _subnets(vpc: VpcDecl) -> list[SubnetDecl]:
    found = (_subnet(subnet, main_name(vpc.route_tables)) for subnet in vpc.subnets)
    return sorted(found, key=lambda subnet: subnet.name)


def _subnet(subnet: SubnetDecl, main: str) -> SubnetDecl:
    acl = "" if subnet.network_acl == DEFAULT_NAME else subnet.network_acl
    table = "" if subnet.route_table == main else subnet.route_table
    return msgspec.structs.replace(subnet, route_table=table, network_acl=acl, flow_logs=normal_flow_logs(subnet.flow_logs))


def normal_nat_gateways(decls: Iterable[NatGatewayDecl]) -> list[NatGatewayDecl]:
    """Return NAT gateways in normal form: the first elastic IP stays first, as the primary one; the others are sorted."""
    found = (msgspec.structs.replace(decl, elastic_ips=decl.elastic_ips[:1] + sorted(decl.elastic_ips[1:])) for decl in decls)
    return sorted(found, key=lambda decl: decl.name)


def normal_endpoints(decls: Iterable[GatewayEndpointDecl]) -> list[GatewayEndpointDecl]:
    """Return gateway endpoints in normal form: services by their full names, e.g. com.netorch.s3."""
    found = (
        msgspec.structs.replace(
            decl,
            service=f"{SERVICE_PREFIX}{decl.service.removeprefix(SERVICE_PREFIX)}",
            route_tables=sorted(decl.route_tables),
            policy=decl.policy.strip(),
        )
        for decl in decls
    )
    return sorted(found, key=lambda decl: decl.name)


def normal_interface_endpoints(owner: str, decls: Iterable[InterfaceEndpointDecl]) -> list[InterfaceEndpointDecl]:
    """Return interface endpoints of an owner's VPC in normal form: services by OWNER/VPC/NAME, or by id."""
    found = []
    for decl in decls:
        path = service_path(owner, decl.service)
        service = decl.service if path is None else "/".join(path)
        groups = normal_memberships(decl.security_groups)
        found.append(msgspec.structs.replace(decl, service=service, subnets=sorted(decl.subnets), security_groups=groups))
    return sorted(found, key=lambda decl: decl.name)


def normal_endpoint_services(decls: Iterable[EndpointServiceDecl]) -> list[EndpointServiceDecl]:
    """Return endpoint services in normal form. Subnets and targets keep their order, which is significant."""
    return sorted(map(_endpoint_service, decls), key=lambda decl: decl.name)


def _endpoint_service(decl: EndpointServiceDecl) -> EndpointServiceDecl:
    ports = [port_text(port) for port in sorted(port for port in map(read_port, decl.ports) if isinstance(port, ServicePort))]
    accept = decl.accept if isinstance(decl.accept, msgspec.UnsetType) else sorted(decl.accept)
    return msgspec.structs.replace(decl, ports=ports, principals=sorted(decl.principals), accept=accept)


def normal_virtual_interfaces(decls: Iterable[VirtualInterfaceDecl]) -> list[VirtualInterfaceDecl]:
    """Return virtual interfaces in normal form."""
    found = (msgspec.structs.replace(decl, routes=list(map(str, sorted(map(parse_prefix, decl.routes))))) for decl in decls)
    return sorted(found, key=lambda decl: decl.name)


def normal_vpns(decls: Iterable[VpnConnectionDecl]) -> list[VpnConnectionDecl]:
    """Return VPN connections in normal form, without `psk_file`: the store does not record the file of a pre-shared key."""
    return sorted(map(_vpn, decls), key=lambda decl: decl.name)


def _vpn(decl: VpnConnectionDecl) -> VpnConnectionDecl:
    routes = decl.static_routes
    if not isinstance(routes, msgspec.UnsetType):
        routes = [str(prefix) for prefix in sorted(map(parse_prefix, routes))]
    tunnels = [msgspec.structs.replace(tunnel, psk_file="") for tunnel in decl.tunnels]
    while tunnels and tunnels[-1] == TunnelDecl():
        tunnels.pop()
    return msgspec.structs.replace(
        decl,
        static_routes=routes,
        local_cidr=_any(str(parse_prefix(decl.local_cidr))),
        remote_cidr=_any(str(parse_prefix(decl.remote_cidr))),
        tunnels=tunnels,
    )


def _any(cidr: str) -> str:
    return ANY_CIDR if cidr == ANY_CIDR else cidr  # msgspec leaves a default out by identity


def _instances(vpc: VpcDecl) -> list[InstanceDecl]:
    return sorted(map(_instance, vpc.instances), key=lambda instance: instance.name)


def _instance(instance: InstanceDecl) -> InstanceDecl:
    groups, logs = normal_memberships(instance.security_groups), normal_flow_logs(instance.flow_logs)
    options, told = instance.metadata_options, user_data(instance.user_data, instance.user_data_base64)
    return msgspec.structs.replace(
        instance,
        security_groups=groups,
        metadata_options=options if options != MetadataOptionsDecl() else msgspec.UNSET,
        flow_logs=logs,
        **{"user_data": "", "user_data_base64": "", **declared_user_data(told)},
    )


def normal_memberships(names: Sequence[str]) -> list[str]:
    """Return the groups of an instance in normal form."""
    return sorted(names) if list(names) != [DEFAULT_NAME] else []


def normal_table(decl: RouteTableDecl) -> RouteTableDecl:
    """Return a route table in normal form."""
    routes = sorted(map(_route, decl.routes), key=lambda words: destination_order(words.destination))
    written = [str(words) for words in routes if words.kind is not LOCAL.kind]
    return msgspec.structs.replace(decl, main=decl.main and decl.name != MAIN_ROUTE_TABLE, routes=written)


def _route(text: str) -> RouteWords:
    words = parse_route(text)
    assert isinstance(words, RouteWords)
    return words


def _flow_log(decl: FlowLogDecl) -> FlowLogDecl:
    fields = flow_log.parse_format(decl.format) if decl.format else flow_log.DEFAULT_FORMAT
    assert isinstance(fields, tuple)
    return msgspec.structs.replace(decl, format=flow_log.format_text(fields) if fields != flow_log.DEFAULT_FORMAT else "")


def _list(decl: PrefixListDecl) -> PrefixListDecl:
    cidrs = [str(prefix) for prefix in sorted(map(parse_prefix, decl.cidrs))]
    return msgspec.structs.replace(decl, cidrs=cidrs, max_entries=decl.max_entries if decl.max_entries != len(cidrs) else None)


def _group(decl: SecurityGroupDecl) -> SecurityGroupDecl:
    own = decl.name == DEFAULT_NAME and decl.description == DEFAULT_DESCRIPTION
    egress = decl.egress if isinstance(decl.egress, msgspec.UnsetType) else _rules(decl.egress)
    return msgspec.structs.replace(
        decl,
        description="" if own else decl.description,
        ingress=_rules(decl.ingress),
        egress=egress if egress != ALL_OUTBOUND else msgspec.UNSET,
    )


def _rules(decls: Sequence[Rule]) -> list[Rule]:
    return sorted(map(_rule, decls), key=_order)


def _rule(decl: Rule) -> Rule:
    field = "source" if isinstance(decl, IngressDecl) else "destination"
    text: str = getattr(decl, field)
    peer = text if permission.is_reference(text) else str(parse_prefix(text))
    return msgspec.structs.replace(decl, **{field: peer}, **_traffic(decl.protocol, decl.ports))


def _order(decl: IngressDecl | EgressDecl) -> tuple[str, str, str]:
    return str(decl.protocol), str(decl.ports), decl.source if isinstance(decl, IngressDecl) else decl.destination


def _acl(decl: NetworkAclDecl) -> NetworkAclDecl:
    return msgspec.structs.replace(decl, ingress=_entries(decl.ingress), egress=_entries(decl.egress))


def _entries(decls: Sequence[AclEntryDecl]) -> list[AclEntryDecl]:
    found = sorted(decls, key=lambda decl: decl.rule)
    return [
        msgspec.structs.replace(decl, cidr=str(parse_prefix(decl.cidr)), **_traffic(decl.protocol, decl.ports)) for decl in found
    ]


def _traffic(protocol: str | int, ports: str | int) -> dict[str, Any]:
    number = permission.protocol(protocol)
    assert isinstance(number, int)
    span = permission.ports(ports, number)
    assert isinstance(span, tuple)
    return {"protocol": _plain(protocol_text(number)), "ports": _plain(ports_text(number, *span))}


def _plain(text: str) -> str | int:
    """Return the number for a numeric text, so that YAML needs no quotes."""
    return int(text) if text.isdigit() else text


# field of VpcDecl -> its normal form
NORMAL: Final[Mapping[str, Callable[[VpcDecl], list[Any]]]] = {
    "prefix_lists": lambda vpc: normal_lists(vpc.prefix_lists),
    "security_groups": lambda vpc: normal_groups(vpc.security_groups),
    "network_acls": lambda vpc: normal_acls(vpc.network_acls),
    "route_tables": lambda vpc: normal_tables(vpc.route_tables),
    "peerings": _peerings,
    "flow_logs": lambda vpc: normal_flow_logs(vpc.flow_logs),
    "subnets": _subnets,
    "vpn_connections": lambda vpc: normal_vpns(vpc.vpn_connections),
    "gateway_endpoints": lambda vpc: normal_endpoints(vpc.gateway_endpoints),
    "interface_endpoints": lambda vpc: normal_interface_endpoints(vpc.owner, vpc.interface_endpoints),
    "endpoint_services": lambda vpc: normal_endpoint_services(vpc.endpoint_services),
    "nat_gateways": lambda vpc: normal_nat_gateways(vpc.nat_gateways),
    "virtual_interfaces": lambda vpc: normal_virtual_interfaces(vpc.virtual_interfaces),
    "instances": _instances,
}
