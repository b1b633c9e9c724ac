"""The stored cloud as a declaration: what `apply` would find unchanged."""

from __future__ import annotations

from netorch.control.draft import visible_tags
from netorch.control.enis import primary_eni_id
from netorch.control.read import Inventory, VpcRecords, read_inventory
from netorch.model.cloud import Cloud, HostDecl, InstanceDecl, RouteTableDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Instance
from netorch.model.mapping import Direction
from netorch.model.vpc import Subnet
from netorch.store.base import Store


def export_cloud(store: Store) -> Cloud:
    """Return everything in the store that a vpc.yaml can say, in order of names, with every choice spelled out.

    Interfaces besides an instance's own are left out: a vpc.yaml has no words for them.
    """
    return export_inventory(read_inventory(store))


def export_inventory(inventory: Inventory) -> Cloud:
    """Return the declaration of an inventory."""
    states = [inventory.hosts[name].host for name in sorted(inventory.hosts)]
    hosts = [HostDecl(name=host.name, underlay=host.underlay, role=host.role, tags=host.tags) for host in states]
    records = sorted(inventory.vpcs.values(), key=lambda records: (records.vpc.record.owner, records.vpc.record.name))
    return Cloud(hosts=hosts, vpcs=[export_vpc(vpc) for vpc in records])


def export_vpc(records: VpcRecords) -> VpcDecl:
    """Return the declaration of one VPC."""
    vpc = records.vpc.record
    tables = sorted((stored.record for stored in records.route_tables.values()), key=lambda table: table.name)
    subnets = sorted((stored.record for stored in records.subnets.values()), key=lambda subnet: subnet.name)
    instances = sorted((stored.record for stored in records.instances.values()), key=lambda instance: instance.name)
    return VpcDecl(
        name=vpc.name,
        owner=vpc.owner,
        cidrs=list(vpc.cidrs),
        ipv6_cidrs=list(vpc.ipv6_cidrs),
        vni=vpc.vni,
        tags=visible_tags(vpc.tags),
        route_tables=[RouteTableDecl(name=table.name, tags=table.tags) for table in tables if not table.main],
        subnets=[_subnet(records, subnet) for subnet in subnets],
        instances=[_instance(records, instance) for instance in instances],
    )


def _subnet(records: VpcRecords, subnet: Subnet) -> SubnetDecl:
    table = records.route_tables[subnet.route_table].record.name if subnet.route_table else ""
    return SubnetDecl(name=subnet.name, cidr=subnet.cidr, ipv6_cidr=subnet.ipv6_cidr, route_table=table, tags=subnet.tags)


def _instance(records: VpcRecords, instance: Instance) -> InstanceDecl:
    eni = records.enis[primary_eni_id(instance.id)].record
    mapping = records.mappings[eni.address].record
    leaving = mapping.move is not None and mapping.move.direction is Direction.TO
    return InstanceDecl(
        name=instance.name,
        subnet=records.subnets[eni.subnet].record.name,
        host=mapping.move.host if leaving and mapping.move is not None else mapping.host,
        address=eni.address,
        ipv6_address=eni.ipv6_address,
        mac=eni.mac,
        attachment=instance.attachment,
        netns=instance.netns,
        tags=visible_tags(instance.tags),
    )
