"""The stored cloud as a declaration that `apply` would find unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from netorch.control.actions.acls import entries_of
from netorch.control.actions.groups import peer_names
from netorch.control.apply.builder import visible_tags
from netorch.control.base.endpoints.gateway import is_endpoints
from netorch.control.base.routes import route_names, route_text
from netorch.control.views.peerings import declared_peerings
from netorch.control.views.services import (
    called_across,
    declared_bucket,
    declared_endpoint,
    declared_endpoint_services,
    declared_interface_endpoints,
    declared_options_set,
    declared_service,
)
from netorch.control.views.zones import private_zones
from netorch.model.cloud import (
    AclAction,
    AclEntryDecl,
    AddressPoolDecl,
    Cloud,
    ConnectionDecl,
    CustomerGatewayDecl,
    EgressDecl,
    EgressOnlyInternetGatewayDecl,
    ElasticIpDecl,
    FlowLogDecl,
    HostDecl,
    HostedVlanDecl,
    IngressDecl,
    InstanceDecl,
    InternetGatewayDecl,
    LoggedTraffic,
    NatGatewayDecl,
    NetworkAclDecl,
    PrefixListDecl,
    RouteTableDecl,
    SecurityGroupDecl,
    SubnetDecl,
    TunnelDecl,
    VirtualInterfaceDecl,
    VpcDecl,
    VpnConnectionDecl,
    VpnGatewayDecl,
)
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Host, Instance, NetworkInterface, primary_eni_id
from netorch.model.flow_log import FlowLog, format_text
from netorch.model.mapping import MoveDirection, PublicMapping
from netorch.model.normal import (
    normal_acls,
    normal_endpoints,
    normal_flow_logs,
    normal_groups,
    normal_lists,
    normal_memberships,
    normal_nat_gateways,
    normal_tables,
    normal_virtual_interfaces,
    normal_vpns,
)
from netorch.model.outside.direct_connect import BgpAuthentication, Connection, VirtualInterface
from netorch.model.outside.gateway import GATEWAYS, EgressOnlyInternetGateway, InternetGateway, NatGateway, OnlyGateway
from netorch.model.outside.provided import relative
from netorch.model.outside.public import AddressPool, ElasticIp
from netorch.model.outside.vpn import CustomerGateway, VirtualPrivateGateway, VpnConnection, leads_to_aws
from netorch.model.routing.peering import PeeringConnection
from netorch.model.rule_text import ports_text, protocol_text
from netorch.model.security import (
    AclEntry,
    Direction,
    NetworkAcl,
    PrefixList,
    SecurityGroup,
    SecurityGroupRule,
)
from netorch.model.services.declared import declared_options, declared_user_data
from netorch.model.vpc import RouteTable, Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

D = TypeVar("D", bound=InternetGatewayDecl)


def export_cloud(store: Store) -> Cloud:
    """Return everything in the store that a vpc.yaml can declare, in order of names, with all choices explicit.

    Interfaces other than an instance's primary one, and VPN connections to AWS, are left out: a vpc.yaml cannot declare them.
    """
    return export_inventory(read_inventory(store), Caller(operator=True))


def export_inventory(inventory: Inventory, caller: Caller) -> Cloud:
    """Return the declaration of what the caller sees of an inventory.

    Only the operator sees hosts, address pools, Direct Connect connections and gateway services. A VPC's range from a pool is
    declared as a request, not by its prefix.
    """
    hosts = [_host(inventory.hosts[name].host) for name in sorted(inventory.hosts) if caller.operator]
    pools = [_pool(inventory.pools[name].record) for name in sorted(inventory.pools) if caller.operator]
    ports = [_connection(inventory.connections[name].record) for name in sorted(inventory.connections) if caller.operator]
    services = [declared_service(inventory.services[name].record) for name in sorted(inventory.services) if caller.operator]
    buckets = [found.record for found in inventory.buckets.values() if caller.sees(found.record.owner)]
    held = (found.record for found in inventory.elastic_ips.values())
    named = (elastic for elastic in held if elastic.name and caller.sees(elastic.owner))
    elastic = [_elastic_ip(found) for found in sorted(named, key=lambda elastic: (elastic.owner, elastic.name))]
    names = {allocation: found.record.name for allocation, found in inventory.elastic_ips.items()}
    described = [found.record for found in inventory.customer_gateways.values()]
    names |= {device.id: device.name for device in described if device.name}
    devices = [_device(found) for found in described if found.name and caller.sees(found.owner)]
    sets = [found.record for found in inventory.dhcp_options.values()]
    names |= {found.id: found.name for found in sets if found.name}
    options = [declared_options_set(found) for found in sets if found.name and caller.sees(found.owner)]
    names |= called_across(inventory, caller)
    seen = [vpc for vpc in inventory.vpcs.values() if caller.sees(vpc.vpc.record.owner)]
    records = sorted(seen, key=lambda records: (records.vpc.record.owner, records.vpc.record.name))
    paths = {vpc.vpc.record.id: f"{vpc.vpc.record.owner}/{vpc.vpc.record.name}" for vpc in records}
    return Cloud(
        hosts=hosts,
        address_pools=pools,
        connections=ports,
        gateway_services=services,
        buckets=[declared_bucket(bucket) for bucket in sorted(buckets, key=lambda bucket: bucket.name)],
        elastic_ips=elastic,
        customer_gateways=sorted(devices, key=lambda decl: (decl.owner, decl.name)),
        dhcp_options=sorted(options, key=lambda decl: (decl.owner, decl.name)),
        private_zones=private_zones(inventory, caller),
        vpcs=[relative(export_vpc(vpc, caller.now(), paths, names), vpc.vpc.record.ipv6_pools) for vpc in records],
    )


def _host(host: Host) -> HostDecl:
    return HostDecl(**msgspec.structs.asdict(host))  # a file declares every field


def _pool(pool: AddressPool) -> AddressPoolDecl:
    return AddressPoolDecl(name=pool.name, pair=pool.pair, cidrs=list(pool.cidrs), tags=pool.tags)


def _connection(connection: Connection) -> ConnectionDecl:
    hosted = [HostedVlanDecl(owner=one.owner, vlan=one.vlan, outer_vlan=one.outer_vlan) for one in connection.hosted]
    return ConnectionDecl(
        name=connection.name,
        host=connection.host,
        device=connection.device,
        owner=connection.owner,
        hosted=hosted,
        tags=connection.tags,
    )


def _virtual_interface(vif: VirtualInterface) -> VirtualInterfaceDecl:
    """Return the declaration of a virtual interface. Its key cannot be read: a file name stands for it."""
    return VirtualInterfaceDecl(
        name=vif.name,
        connection=vif.connection,
        vlan=vif.vlan,
        outer_vlan=vif.outer_vlan,
        mtu=vif.mtu,
        asn=vif.asn,
        address=vif.address,
        peer=vif.peer,
        key_file=f"{vif.name}.key" if vif.authentication is not BgpAuthentication.NONE else "",
        bfd=vif.bfd,
        routes=list(vif.routes),
        tags=vif.tags,
    )


def _elastic_ip(elastic: ElasticIp) -> ElasticIpDecl:
    tags = visible_tags(elastic.tags)
    return ElasticIpDecl(name=elastic.name, owner=elastic.owner, pool=elastic.pool, address=elastic.address, tags=tags)


def export_vpc(records: VpcRecords, now: float, paths: Mapping[str, str], elastic: Mapping[str, str]) -> VpcDecl:
    """Return the declaration of one VPC at `now`, with the prefixes of all its ranges.

    `paths` holds the owners and names of VPCs by id. `elastic` holds the names of elastic IPs, customer gateways, DHCP options
    sets, and services and endpoints of other VPCs, by id.
    """
    vpc = records.vpc.record
    subnets = sorted(records.each(Subnet), key=lambda subnet: subnet.name)
    instances = sorted(records.each(Instance), key=lambda instance: instance.name)
    public = {mapping.eni: mapping for mapping in records.each(PublicMapping)}
    nats = [_nat_gateway(records, nat, elastic) for nat in records.each(NatGateway)]
    vifs = records.each(VirtualInterface)
    names = peer_names(
        records.each(SecurityGroup),
        records.each(PrefixList),
    )
    return VpcDecl(
        name=vpc.name,
        owner=vpc.owner,
        cidrs=list(vpc.cidrs),
        ipv6_cidrs=list(vpc.ipv6_cidrs),
        vni=vpc.vni,
        enable_dns_support=vpc.enable_dns_support,
        enable_dns_hostnames=msgspec.UNSET if vpc.enable_dns_hostnames == vpc.is_default else vpc.enable_dns_hostnames,
        dhcp_options=elastic.get(vpc.dhcp_options, vpc.dhcp_options),
        tags=visible_tags(vpc.tags),
        internet_gateway=_gateway(records, InternetGateway, InternetGatewayDecl),
        egress_only_internet_gateway=_gateway(records, EgressOnlyInternetGateway, EgressOnlyInternetGatewayDecl),
        vpn_gateway=_vpn_gateway(records),
        vpn_connections=normal_vpns(_vpn(vpn, elastic) for vpn in records.each(VpnConnection) if not leads_to_aws(vpn)),
        prefix_lists=normal_lists(_prefix_list(found) for found in records.each(PrefixList) if not found.service),
        security_groups=normal_groups(_group(stored.record, names) for stored in records.of(SecurityGroup).values()),
        network_acls=normal_acls(_acl(stored.record) for stored in records.of(NetworkAcl).values()),
        route_tables=export_tables(records, _named_targets(records, now)),
        peerings=declared_peerings(records, now, paths),
        flow_logs=_flow_logs(records, vpc.id),
        subnets=[_subnet(records, subnet) for subnet in subnets],
        nat_gateways=normal_nat_gateways(nats),
        interface_endpoints=declared_interface_endpoints(records, elastic),
        endpoint_services=declared_endpoint_services(records, elastic),
        gateway_endpoints=normal_endpoints(declared_endpoint(records, one) for one in records.each(VpcEndpoint) if one.number),
        virtual_interfaces=normal_virtual_interfaces(_virtual_interface(vif) for vif in vifs if vif.confirmed),
        instances=[_instance(records, instance, public.get(primary_eni_id(instance.id)), elastic) for instance in instances],
    )


def _gateway(records: VpcRecords, kind: type[OnlyGateway], decl: type[D]) -> D | msgspec.UnsetType:
    return next((decl(name=found.name, tags=found.tags) for found in records.each(kind)), msgspec.UNSET)


def _vpn_gateway(records: VpcRecords) -> VpnGatewayDecl | msgspec.UnsetType:
    found = next(records.each(VirtualPrivateGateway), None)
    return VpnGatewayDecl(name=found.name, asn=found.asn, tags=found.tags) if found is not None else msgspec.UNSET


def _device(device: CustomerGateway) -> CustomerGatewayDecl:
    return CustomerGatewayDecl(
        name=device.name,
        owner=device.owner,
        asn=device.asn,
        address=device.address,
        identity=device.identity,
        tags=visible_tags(device.tags),
    )


def _vpn(vpn: VpnConnection, names: Mapping[str, str]) -> VpnConnectionDecl:
    """Return the declaration of a VPN connection; `names` holds customer gateways' names by id. Its keys cannot be read."""
    return VpnConnectionDecl(
        name=vpn.name,
        customer_gateway=names.get(vpn.customer_gateway, vpn.customer_gateway),
        static_routes=list(vpn.routes) if vpn.static else msgspec.UNSET,
        local_cidr=vpn.local_cidr,
        remote_cidr=vpn.remote_cidr,
        tunnels=[TunnelDecl(inside_cidr=tunnel.inside_cidr, options=tunnel.options) for tunnel in vpn.tunnels],
        tags=vpn.tags,
    )


def _nat_gateway(records: VpcRecords, nat: NatGateway, elastic: Mapping[str, str]) -> NatGatewayDecl:
    """Return the declaration of a NAT gateway without draining addresses; `elastic` holds elastic IPs' names by id."""
    eni = records.of(NetworkInterface)[nat.eni].record
    public = {found.private_address: found.allocation for found in records.each(PublicMapping) if found.eni == nat.eni}
    stay = (address for address in eni.addresses if address not in nat.draining)
    names = [elastic.get(public.get(address, ""), "") for address in stay]
    return NatGatewayDecl(
        name=nat.name,
        subnet=records.of(Subnet)[nat.subnet].record.name,
        elastic_ips=list(filter(None, names)),
        address=eni.address,
        tags=nat.tags,
    )


def export_tables(records: VpcRecords, names: Mapping[str, str]) -> list[RouteTableDecl]:
    """Return the declaration of a VPC's route tables; `names` holds the declared names of targets and prefix lists by id."""
    return normal_tables(
        RouteTableDecl(
            name=table.name,
            main=table.main,
            routes=[route_text(route, names) for route in table.routes if not is_endpoints(route)],
            propagate=bool(table.propagating),
            tags=table.tags,
        )
        for table in records.each(RouteTable)
    )


def _named_targets(records: VpcRecords, now: float) -> dict[str, str]:
    instances = {instance.id: instance for instance in records.each(Instance)}
    live = (half for half in records.each(PeeringConnection) if half.is_live(now))
    gateways = [found for kind in GATEWAYS for found in records.each(kind)]
    return route_names(records.each(NetworkInterface), instances, live, gateways, records.each(PrefixList))


def _prefix_list(record: PrefixList) -> PrefixListDecl:
    cidrs = [entry.cidr for entry in record.entries]
    return PrefixListDecl(name=record.name, cidrs=cidrs, max_entries=record.max_entries, tags=record.tags)


def _group(record: SecurityGroup, names: dict[str, str]) -> SecurityGroupDecl:
    return SecurityGroupDecl(
        name=record.name,
        description=record.description,
        ingress=[IngressDecl(source=names.get(rule.peer, rule.peer), **_rule(rule)) for rule in record.ingress],
        egress=[EgressDecl(destination=names.get(rule.peer, rule.peer), **_rule(rule)) for rule in record.egress],
        tags=record.tags,
    )


def _rule(rule: SecurityGroupRule) -> dict[str, Any]:
    return {"description": rule.description, **_traffic(rule)}


def _traffic(rule: SecurityGroupRule | AclEntry) -> dict[str, Any]:
    return {"protocol": protocol_text(rule.protocol), "ports": ports_text(rule.protocol, rule.from_port, rule.to_port)}


def _acl(record: NetworkAcl) -> NetworkAclDecl:
    ways = {direction.value: [_entry(entry) for entry in entries_of(record, direction)] for direction in Direction}
    return NetworkAclDecl(name=record.name, tags=record.tags, **ways)


def _entry(entry: AclEntry) -> AclEntryDecl:
    action = AclAction.ALLOW if entry.allow else AclAction.DENY
    return AclEntryDecl(rule=entry.number, action=action, cidr=entry.cidr, **_traffic(entry))


def _flow_logs(records: VpcRecords, resource: str) -> list[FlowLogDecl]:
    return normal_flow_logs(
        _flow_log(stored.record) for stored in records.of(FlowLog).values() if stored.record.resource == resource
    )


def _flow_log(record: FlowLog) -> FlowLogDecl:
    return FlowLogDecl(
        name=record.name,
        traffic=LoggedTraffic[record.traffic.name],
        interval=record.interval_s,
        format=format_text(record.format),
        tags=record.tags,
    )


def _subnet(records: VpcRecords, subnet: Subnet) -> SubnetDecl:
    table = records.of(RouteTable)[subnet.route_table].record.name if subnet.route_table else ""
    return SubnetDecl(
        name=subnet.name,
        cidr=subnet.cidr,
        ipv6_cidr=subnet.ipv6_cidr,
        route_table=table,
        network_acl=records.of(NetworkAcl)[subnet.acl].record.name if subnet.acl else "",
        public_on_launch=subnet.public_on_launch,
        tags=subnet.tags,
        flow_logs=_flow_logs(records, subnet.id),
    )


def _instance(records: VpcRecords, instance: Instance, public: PublicMapping | None, elastic: Mapping[str, str]) -> InstanceDecl:
    """Return the declaration of an instance; `public` maps to its address, `elastic` holds elastic IPs' names by id."""
    eni = records.of(NetworkInterface)[primary_eni_id(instance.id)].record
    mapping = records.mappings[eni.address].record
    leaving = mapping.move is not None and mapping.move.direction is MoveDirection.TO
    return InstanceDecl(
        name=instance.name,
        subnet=records.of(Subnet)[eni.subnet].record.name,
        host=mapping.move.host if leaving and mapping.move is not None else mapping.host,
        address=eni.address,
        ipv6_address=eni.ipv6_address,
        mac=eni.mac,
        public_address=_ephemeral(public, records.of(Subnet)[eni.subnet].record),
        elastic_ip=elastic.get(public.allocation, "") if public is not None else "",
        source_dest_check=eni.source_dest_check,
        security_groups=normal_memberships([records.of(SecurityGroup)[group_id].record.name for group_id in eni.groups]),
        attachment=instance.attachment,
        netns=instance.netns,
        metadata_options=declared_options(instance.metadata),
        tags=visible_tags(instance.tags),
        flow_logs=_flow_logs(records, eni.id),
        **declared_user_data(instance.user_data),
    )


def _ephemeral(public: PublicMapping | None, subnet: Subnet) -> bool | msgspec.UnsetType:
    """Return whether an instance has an ephemeral address; UNSET if its subnet implies that."""
    has_one = public is not None and not public.allocation
    return has_one if has_one or (public is None and subnet.public_on_launch) else msgspec.UNSET
