"""Deletions in a plan: whole VPCs, in the order that their parts require, and single parts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netorch.control.actions import enis as interfaces
from netorch.control.actions import subnets, vpcs
from netorch.control.actions.direct_connect import interfaces as direct_connect
from netorch.control.actions.endpoints import gateway as endpoints
from netorch.control.actions.instances import terminate_writes
from netorch.control.actions.outside import nats
from netorch.control.actions.outside.gateways import delete_gateway
from netorch.control.actions.private import connections as private
from netorch.control.apply.builder import PlanBuilder, carriers, instance_hosts
from netorch.control.apply.changes import Action, Change, Difference
from netorch.control.apply.endpoints.ends import delete_endpoint_parts
from netorch.control.base.addresses import cursor_key
from netorch.control.base.logged import delete_logs
from netorch.control.base.peers import delete_both
from netorch.control.base.structure import delete_part
from netorch.control.base.uses import delete_unused, use_key
from netorch.control.placement.choice import count_on
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.flow_log import FlowLog
from netorch.model.mapping import GatewayMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import ONLY_GATEWAYS, NatGateway
from netorch.model.outside.vpn import VpnConnection
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup, referred
from netorch.model.services.zones import VpcZone
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.kinds import of_vpc
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords
from netorch.store.alloc import vni_key


def enis_by_instance(records: VpcRecords) -> dict[str, list[Stored[NetworkInterface]]]:
    """Return a VPC's interfaces by their instance; those that are not attached by the empty id."""
    found: dict[str, list[Stored[NetworkInterface]]] = {}
    for eni in records.of(NetworkInterface).values():
        found.setdefault(eni.record.instance, []).append(eni)
    return found


def delete_instance(
    builder: PlanBuilder,
    records: VpcRecords,
    instance: Stored[Instance],
    enis: Sequence[Stored[NetworkInterface]],
    *,
    whole: bool,
) -> None:
    """Add the termination of an instance with its primary interface; others are detached, or with `whole` deleted too."""
    writes = builder.step()
    builder.namespaces.release(writes, instance.record, instance_hosts(records, enis))
    found = [(eni, records.mappings_of(eni.record)) for eni in enis]
    for _, mappings in found:
        for host in interfaces.hosts_of(mapping.record for mapping in mappings.values()):
            if host in builder.hosts:
                count_on(builder.hosts[host], records.vni, -1)
    logs, publics = builder.logs_of(records), builder.publics_of(records)
    terminate_writes(writes, records.vpc.record, instance, found, logs, publics, whole=whole)


def delete_vpc(builder: PlanBuilder, records: VpcRecords) -> None:
    """Add the deletion of a VPC with everything in it: first the instances, then the other parts, then the VPC."""
    builder.deleted.add(records.vni)
    for connection in records.of(PeeringConnection).values():
        delete_both(builder.step(), connection.record)
    by_instance = enis_by_instance(records)
    logs = builder.logs_of(records)
    for instance in records.of(Instance).values():
        delete_instance(builder, records, instance, by_instance.get(instance.record.id, ()), whole=True)
    for nat_id, nat in records.of(NatGateway).items():
        eni, mapping = records.of(NetworkInterface).get(nat.record.eni), records.of(GatewayMapping).get(nat_id)
        nats.delete_writes(builder.step(), records.vpc, nat, eni, mapping, logs, builder.publics_of(records))
    delete_endpoint_parts(builder, records)
    for vif in records.of(VirtualInterface).values():
        delete_vif(builder, records, vif)
    for vpn in records.of(VpnConnection).values():
        delete_vpn(builder, records, vpn)
    for eni in (eni for eni in by_instance.get("", ()) if not eni.record.gateway):
        interfaces.delete_writes(builder.step(), records.vpc.record, eni, {}, logs, builder.publics_of(records))
    for table in [table for table in records.of(RouteTable).values() if table.record.propagating]:
        alone = msgspec.structs.replace(table.record, propagating=())
        builder.step().change(keys.resource(alone.id), table.mod_revision, alone)
    for gateway_id, gateway in ((found, gateway) for kind in ONLY_GATEWAYS for found, gateway in records.of(kind).items()):
        delete_gateway(builder.step(), records.vpc, gateway, records.of(GatewayMapping).get(gateway_id))
    for stored in [endpoint for endpoint in records.of(VpcEndpoint).values() if endpoint.record.number]:
        mapping = records.of(GatewayMapping).get(stored.record.id)
        endpoints.delete_writes(builder.step(), records.vpc, stored, mapping)
    for subnet in records.of(Subnet).values():
        delete_subnet(builder, records, subnet)
    for table in records.of(RouteTable).values():
        if not table.record.main:
            delete_part(builder.step(), records.vpc, table)
        elif table.record.routes:  # they may refer to prefix lists, which are deleted before the table
            empty = msgspec.structs.replace(table.record, routes=(), propagating=())
            builder.step().change(keys.resource(empty.id), table.mod_revision, empty)
    _delete_policies(builder, records)
    for resource in logs.keys() - {records.vpc.record.id, *records.of(Subnet), *records.of(NetworkInterface)}:
        delete_logs(builder.step(), records.vpc.record, logs, resource)  # of resources deleted without them
    writes = builder.step()
    kinds = [kind for kind in of_vpc() if kind.type not in (FlowLog, PeeringConnection)]  # deleted above
    along = [found for kind in kinds for found in records.each(kind.type) if kind.goes_along(found)] + [*records.each(VpcZone)]
    vpcs.delete_writes(writes, builder.caller, records.vpc, along, builder.inventory.raw.get(vni_key(records.vni)), builder.claim)
    delete_logs(writes, records.vpc.record, logs, records.vpc.record.id)
    builder.vpcs.pop(records.vni, None)


def _delete_policies(builder: PlanBuilder, records: VpcRecords) -> None:
    """Add the deletion of a VPC's groups, prefix lists and ACLs, except for the default ones."""
    groups = records.of(SecurityGroup).values()
    own = [stored for stored in groups if not stored.record.is_default]
    defaults = [stored for stored in groups if stored.record.is_default]
    delete_filters(builder, records.vpc.record, own, list(records.of(PrefixList).values()), defaults)
    for acl in records.of(NetworkAcl).values():
        if not acl.record.is_default:
            delete_part(builder.step(), records.vpc, acl)


def delete_filters(
    builder: PlanBuilder,
    vpc: Vpc,
    groups: Sequence[Stored[SecurityGroup]],
    lists: Sequence[Stored[PrefixList]],
    referring: Sequence[Stored[SecurityGroup]] = (),
) -> None:
    """Add the deletion of groups and prefix lists that no interface uses; first of their rules and those of `referring`."""
    gone = {stored.record.id for stored in groups} | {stored.record.id for stored in lists}
    for stored in (*groups, *referring):
        group = stored.record
        if referred(group) & gone - {group.id}:
            empty = msgspec.structs.replace(group, ingress=(), egress=())
            builder.step().change(keys.resource(group.id), stored.mod_revision, empty)
    for stored in groups:
        delete_unused(builder.step(), vpc, stored, builder.revision_of(use_key(stored.record.id)))
    for found in lists:
        delete_unused(builder.step(), vpc, found, builder.revision_of(use_key(found.record.id)))


def delete_vif(builder: PlanBuilder, records: VpcRecords, stored: Stored[VirtualInterface]) -> None:
    """Add the deletion of a virtual interface."""
    vif = stored.record
    direct_connect.delete_writes(builder.step(), records.vpc, stored)
    if not vif.rejected:
        builder.vlans.get(vif.connection, {}).pop((vif.outer_vlan, vif.vlan), None)


def delete_vpn(builder: PlanBuilder, records: VpcRecords, stored: Stored[VpnConnection]) -> None:
    """Add the deletion of a VPN connection."""
    vpn, pair = stored.record, builder.pair_of(records)
    private.delete_writes(builder.step(), records.vpc, stored, pair)
    builder.vpn_uses.discard(keys.vpn_use(records.vpc.record.owner, vpn.customer_gateway, vpn.id))
    builder.ike_peers.difference_update(private.ike_peers(pair, vpn))


def delete_subnet(builder: PlanBuilder, records: VpcRecords, subnet: Stored[Subnet]) -> None:
    """Add the deletion of a subnet that earlier steps empty."""
    cursor = builder.revision_of(cursor_key(subnet.record.id))
    used = builder.revision_of(use_key(records.vpc.record.id))
    subnets.delete_writes(builder.step(), records.vpc, subnet, builder.logs_of(records), cursor, used)


def route_count(records: VpcRecords) -> int:
    """Return how many routes a VPC's tables have, without local ones."""
    return sum(len(table.routes) for table in records.each(RouteTable))


def vpc_deletion(records: VpcRecords, action: Action = Action.DELETE, why: tuple[Difference, ...] = ()) -> Change:
    """Return a VPC's deletion as a change."""
    vpc = records.vpc.record
    count = len(records.of(Instance))
    return Change(
        action=action,
        kind="vpc",
        owner=vpc.owner,
        name=vpc.name,
        resource_id=vpc.id,
        differences=why,
        breaks=f"{count} instance(s) are terminated" if count else "",
        ends=count,
        routes=route_count(records),
        hosts=carriers(records),
    )
