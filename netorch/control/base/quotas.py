"""How much an owner may have: EC2's defaults where they suit a lab. `quota/<owner>` overrides them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from netorch.control.base import checks
from netorch.errors import ApiError, Conflict
from netorch.model.endpoints import endpoint
from netorch.model.outside.vpn import MAX_CONNECTIONS, NUMBER_LAST
from netorch.model.record import Record
from netorch.model.vpc import TABLE_NUMBER_LAST
from netorch.records.codec import decode, encode
from netorch.records.errors import invalid
from netorch.store.base import Compare, KeyValue, Put, Store

RULES_PER_INTERFACE: Final = 1000  # EC2's: of all its groups, one direction and one IP version


class Quotas(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of one owner. EC2's are 5 VPCs per region and 64,000 address units a VPC; ours admit whole clouds to one lab."""

    vpcs: int = 10_000
    cidrs_per_vpc: int = 5  # EC2's, of each IP version
    subnets_per_vpc: int = 200  # EC2's
    route_tables_per_vpc: int = 200  # EC2's
    routes_per_table: int = 50  # EC2's, of each IP version; local and propagated routes do not count
    flow_logs_per_resource: int = 2  # EC2's
    interfaces_per_vpc: int = 64_000  # EC2's network address units
    interfaces_per_instance: int = 15  # EC2's largest; with more, a termination would exceed one transaction
    groups_per_vpc: int = 2500  # EC2's, of a region
    rules_per_group: int = 60  # EC2's, each direction and IP version
    groups_per_interface: int = 5  # EC2's; up to 16
    acls_per_vpc: int = 200  # EC2's
    entries_per_acl: int = 20  # EC2's, each direction and IP version
    prefix_lists_per_vpc: int = 100  # EC2's, of a region
    elastic_ips: int = 5  # EC2's, of a region
    peerings_per_vpc: int = 50  # EC2's, active ones; with more, a VPC's deletion would exceed one transaction
    peering_requests_per_vpc: int = 25  # EC2's, not accepted yet
    public_addresses: int = 64  # elastic and ephemeral ones; a released address counts for another hour
    provided_ipv6_ranges: int = 64  # /56s out of pools, likewise; EC2 has 5 a VPC, which cidrs_per_vpc also limits
    nat_gateways_per_vpc: int = 5  # EC2's, of an availability zone
    gateway_endpoints_per_vpc: int = 20  # EC2's, of a region
    interface_endpoints_per_vpc: int = 50  # EC2's
    endpoint_services_per_vpc: int = 20
    virtual_interfaces_per_gateway: int = 50  # as many as Direct Connect allows on a connection
    customer_gateways: int = 50  # EC2's, of a region
    vpn_connections: int = 50  # EC2's, of a region
    dhcp_options: int = 100  # EC2's, of a region
    private_zones: int = 500  # Route 53's
    vpcs_per_zone: int = 20  # Route 53 has 300; one transaction writes a copy for each
    record_sets_per_zone: int = 1_000  # Route 53 has 10,000
    vpn_connections_per_gateway: int = MAX_CONNECTIONS  # EC2's
    owner: str = ""  # the owner; in the store the key names it

    @property
    def memberships(self) -> int:
        """Return how many groups one interface may have: a higher quota of rules lowers this limit, as in EC2."""
        return min(self.groups_per_interface, RULES_PER_INTERFACE // max(self.rules_per_group, 1))


LIMITS: Final = tuple(field for field in Quotas.__struct_fields__ if field != "owner")
MAX_LIMIT: Final = 1_000_000
# Upper bounds of limits that have another bound: a VPC or instance is deleted in one transaction, an interface's groups change
# in one, and hosts number route tables, VPN connections and gateway endpoints.
HIGHEST: Final = {
    "interfaces_per_instance": 15,
    "groups_per_interface": 16,
    "route_tables_per_vpc": TABLE_NUMBER_LAST,
    "peerings_per_vpc": 50,
    "routes_per_table": 1000,  # EC2's
    "vpn_connections_per_gateway": NUMBER_LAST,
    "vpcs_per_zone": 20,
    "gateway_endpoints_per_vpc": endpoint.NUMBER_LAST - endpoint.NUMBER_FIRST + 1,
}
_ROOM: Final = {  # limit -> how to make room; default: delete one. A returned address counts for another hour
    "elastic_ips": "release one",
    "public_addresses": "release one and wait an hour",
    "provided_ipv6_ranges": "disassociate one and wait an hour",
}
_OF_CODE: Final = {  # EC2's code -> its limit, and what the limit counts
    "VpcLimitExceeded": ("vpcs", "VPCs"),
    "CidrLimitExceeded": ("cidrs_per_vpc", "CIDRs"),
    "SubnetLimitExceeded": ("subnets_per_vpc", "subnets"),
    "RouteTableLimitExceeded": ("route_tables_per_vpc", "route tables"),
    "RouteLimitExceeded": ("routes_per_table", "routes"),
    "FlowLogsLimitExceeded": ("flow_logs_per_resource", "flow logs"),
    "NetworkInterfaceLimitExceeded": ("interfaces_per_vpc", "network interfaces"),
    "AttachmentLimitExceeded": ("interfaces_per_instance", "network interfaces"),
    "SecurityGroupLimitExceeded": ("groups_per_vpc", "security groups"),
    "RulesPerSecurityGroupLimitExceeded": ("rules_per_group", "rules"),
    "NetworkAclLimitExceeded": ("acls_per_vpc", "network ACLs"),
    "NetworkAclEntryLimitExceeded": ("entries_per_acl", "entries"),
    "PrefixListLimitExceeded": ("prefix_lists_per_vpc", "prefix lists"),
    "AddressLimitExceeded": ("elastic_ips", "elastic IP addresses"),
    "CustomerGatewayLimitExceeded": ("customer_gateways", "customer gateways"),
    "VpcEndpointServiceLimitExceeded": ("endpoint_services_per_vpc", "endpoint services"),
    "VpcEndpointLimitExceeded": ("gateway_endpoints_per_vpc", "gateway endpoints"),
    "DhcpOptionsLimitExceeded": ("dhcp_options", "DHCP options sets"),
    "TooManyHostedZones": ("private_zones", "private zones"),
    "NatGatewayLimitExceeded": ("nat_gateways_per_vpc", "NAT gateways"),
    "ActiveVpcPeeringConnectionPerVpcLimitExceeded": ("peerings_per_vpc", "active peering connections"),
    "OutstandingVpcPeeringConnectionLimitExceeded": ("peering_requests_per_vpc", "requests for peering connections"),
}


def check_room(quotas: Quotas, code: str, where: str, count: int, what: str = "") -> None:
    """Refuse more than an owner may have; `count` is the new number, `what` names the items. Raises ApiError: `code`."""
    name, noun = _OF_CODE[code]
    check_limit(quotas, name, code, where, count, what or noun)


def check_limit(quotas: Quotas, name: str, code: str, where: str, count: int, noun: str) -> None:
    """Refuse more than a limit permits; several limits may share one code. Raises ApiError: `code`."""
    limit: int = getattr(quotas, name)
    if count <= limit:
        return
    more = min(2 * limit, HIGHEST.get(name, 2 * limit))
    fix = _ROOM.get(name, "delete one")
    if more > limit:
        fix += f", or ask the operator to raise the quota: netorch quota set {quotas.owner} {name}={more}"
    raise ApiError(code, f"{where}: already has its quota of {limit} {noun}; {fix}")


def check_growth(quotas: Quotas, code: str, where: str, had: int, count: int, what: str = "") -> None:
    """As `check_room`, for an owner that had `had` before. A quota may have been lowered since; only growth is refused."""
    if count > had:
        check_room(quotas, code, where, count, what)


def quota_key(owner: str) -> str:
    """Return the key of an owner's own limits."""
    return f"quota/{owner}"


def decode_quotas(kv: KeyValue | None, owner: str) -> Quotas:
    """Return an owner's limits; `kv` holds those that the operator stored. Raises UnreadableRecord."""
    return msgspec.structs.replace(Quotas() if kv is None else decode(kv, Quotas), owner=owner)


def quotas_of(store: Store, owner: str) -> Quotas:
    """Return an owner's limits: the defaults unless the operator stored others."""
    return decode_quotas(store.get(quota_key(owner)), owner)


def set_quotas(store: Store, owner: str, limits: Mapping[str, int]) -> Quotas:
    """Change some of an owner's limits and return all. What the owner has beyond a lower limit stays.

    Raises:
      ApiError: InvalidParameterValue for an unknown limit or a value out of range.
    """
    where = f"quotas of {checks.name(f'owner {owner!r}', owner)}"
    for name, value in limits.items():
        if name not in LIMITS:
            raise invalid(where, f"there is no limit {name!r}", f"choose among {', '.join(LIMITS)}")
        if not 1 <= value <= HIGHEST.get(name, MAX_LIMIT):
            raise invalid(where, f"{name} {value} is out of range", f"choose 1 to {HIGHEST.get(name, MAX_LIMIT)}")
    key = quota_key(owner)
    known = store.get(key)
    changed = msgspec.structs.replace(decode_quotas(known, owner), **limits)
    record = encode(msgspec.structs.replace(changed, owner=""))
    if not store.txn([Compare(key, known.mod_revision if known is not None else 0)], [Put(key, record)]).succeeded:
        raise Conflict(f"{where}: they were changed just now; try again")
    return changed
