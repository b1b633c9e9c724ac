"""Virtual private gateways: a VPC's way to private networks elsewhere.

EC2 creates a gateway, then attaches it. Here a gateway is created for its VPC.
"""

from __future__ import annotations

import msgspec

from netorch.control.actions.outside.gateways import OnlyGatewayInfo, delete_gateway, gateway_writes, info_of, refuse_second
from netorch.control.base import checks
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.model.mapping import GatewayMapping
from netorch.model.outside import vpn_rules
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import AMAZON_ASN, VirtualPrivateGateway, VpnConnection
from netorch.model.vpc import RouteTable, Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.read import get, read, read_all, read_vpc
from netorch.store.base import Store


def create_vpn_gateway(
    store: Store, caller: Caller, vpc_id: str, *, name: str = "", asn: int = AMAZON_ASN, tags: Tags | None = None
) -> VirtualPrivateGateway:
    """Create a VPC's virtual private gateway, on the pair of edges of its other gateways or addresses, and return it.

    Raises:
      ApiError: InvalidVpcID.NotFound, Resource.AlreadyAssociated if the VPC has one, InsufficientInstanceCapacity if there is
        no pair of edges, InvalidParameterValue for a bad name or AS number.
    """

    def decide() -> tuple[Writes, VirtualPrivateGateway]:
        vpc = read_vpc(store, caller, vpc_id)
        where = f"virtual private gateway {name!r}" if name else "virtual private gateway"
        if name:
            checks.name(where, name)
        if violation := vpn_rules.gateway_asn(asn):
            raise invalid(where, violation.what, violation.fix)
        refuse_second(vpc.record, VirtualPrivateGateway, read_all(store, VirtualPrivateGateway, vpc.record.vni))
        wanted = VirtualPrivateGateway(id="", vni=vpc.record.vni, name=name, asn=asn, tags=checks.tags(where, tags))
        writes = Writes()
        made = gateway_writes(writes, store, caller, vpc.record, wanted)
        guard_structure(writes, vpc)
        return writes, made

    return attempt(store, decide)


def delete_vpn_gateway(store: Store, caller: Caller, gateway_id: str) -> None:
    """Delete a virtual private gateway. Routes to it become black holes, and route tables lose its propagated routes.

    Raises:
      ApiError: InvalidVpnGatewayID.NotFound, DependencyViolation while it has VPN connections or virtual interfaces.
    """

    def decide() -> tuple[Writes, None]:
        vpc, gateway = read(store, caller, VirtualPrivateGateway, gateway_id)
        vni = vpc.record.vni
        if count := len(read_all(store, VpnConnection, vni)):
            raise in_use("vgw", gateway_id, f"{count} VPN connection(s)", "delete these first: netorch vpn delete")
        if count := sum(not vif.record.rejected for vif in read_all(store, VirtualInterface, vni).values()):
            raise in_use("vgw", gateway_id, f"{count} virtual interface(s)", "delete these first: netorch dx vif delete")
        writes = Writes()
        for table in read_all(store, RouteTable, vni).values():
            if gateway_id in table.record.propagating:
                changed = without_propagation(table.record, gateway_id)
                writes.change(keys.resource(changed.id), table.mod_revision, changed)
        delete_gateway(writes, vpc, gateway, get(store, keys.gateway_mapping(vni, gateway_id), GatewayMapping))
        return writes, None

    attempt(store, decide)


def without_propagation(table: RouteTable, gateway_id: str) -> RouteTable:
    """Return a route table without a gateway's propagation."""
    return msgspec.structs.replace(table, propagating=tuple(found for found in table.propagating if found != gateway_id))


def describe_vpn_gateways(store: Store, caller: Caller, vpc_id: str) -> list[OnlyGatewayInfo]:
    """Return a VPC's virtual private gateway, if it has one. Raises ApiError: InvalidVpcID.NotFound."""
    vpc = read_vpc(store, caller, vpc_id).record
    return [info_of(store, vpc, stored.record) for stored in read_all(store, VirtualPrivateGateway, vpc.vni).values()]


def describe_vpn_gateway(store: Store, caller: Caller, gateway_id: str) -> OnlyGatewayInfo:
    """Return one virtual private gateway. Raises ApiError: InvalidVpnGatewayID.NotFound."""
    vpc, gateway = read(store, caller, VirtualPrivateGateway, gateway_id)
    return info_of(store, vpc.record, gateway.record)
