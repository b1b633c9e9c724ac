"""Ephemeral public addresses of the instances that a plan adds, where their subnet says that they get one."""

from __future__ import annotations

from netorch.control.apply.builder import PlanBuilder
from netorch.control.base.public import Ephemeral, pair_of_addresses
from netorch.model.mapping import GatewayMapping, PublicMapping
from netorch.records import keys
from netorch.records.vpc import VpcRecords


def ephemeral_in(builder: PlanBuilder, records: VpcRecords) -> Ephemeral:
    """Return what gives ephemeral addresses in a VPC."""
    hosts = builder.inventory.hosts
    seats = [seat.host for mapping in records.each(GatewayMapping) for seat in mapping.seats]
    pair = next((hosts[name].host.pair for name in seats if name in hosts), "")
    if pair:
        return Ephemeral(builder.addresses, builder.caller, records.vpc, pair, None)
    pair = pair_of_addresses(builder.inventory.pools, records.each(PublicMapping))
    mark = builder.revision_of(keys.public_mark(records.vni))
    return Ephemeral(builder.addresses, builder.caller, records.vpc, pair, mark)
