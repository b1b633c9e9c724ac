"""The check that a declared VPC fits its owner's quotas."""

from __future__ import annotations

from netorch.control.actions.vpcs import room_for_ranges
from netorch.control.apply.builder import PlanBuilder
from netorch.control.base.quotas import check_growth, check_room
from netorch.model.cloud import VpcDecl, main_name
from netorch.model.eni import NetworkInterface
from netorch.model.outside.gateway import NatGateway
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.vpc import VpcRecords


def check_quotas(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords | None, vpcs: int) -> None:
    """Refuse a new VPC beyond the owner's `vpcs`, or growth of a VPC beyond its quotas. Raises ApiError."""
    limits = builder.quotas_of(decl.owner)
    where = f"VPC {decl.owner}/{decl.name}"
    if records is None:
        check_room(limits, "VpcLimitExceeded", f"owner {decl.owner}", vpcs + 1)
        records = VpcRecords(0, {})
    tables = {main_name(decl.route_tables), *(table.name for table in decl.route_tables)}
    ends = sum(len(endpoint.subnets) for endpoint in decl.interface_endpoints)
    for code, kind, count in (
        ("SubnetLimitExceeded", Subnet, len(decl.subnets)),
        ("RouteTableLimitExceeded", RouteTable, len(tables)),
        ("NatGatewayLimitExceeded", NatGateway, len(decl.nat_gateways)),
        ("NetworkInterfaceLimitExceeded", NetworkInterface, len(decl.instances) + len(decl.nat_gateways) + ends),
    ):
        check_growth(limits, code, where, len(records.of(kind)), count)
    room_for_ranges(where, decl.cidrs, decl.ipv6_cidrs, limits, next(records.each(Vpc), None))
