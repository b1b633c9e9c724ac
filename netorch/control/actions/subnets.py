"""Subnets: parts of a VPC's ranges from which interfaces get their addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from netorch.control.base import checks
from netorch.control.base.addresses import cursor_key, cursor_revision
from netorch.control.base.logged import Logs, delete_logs, logs_of
from netorch.control.base.routes import refuse_overrides
from netorch.control.base.structure import create_part, delete_part
from netorch.control.base.uses import use_key, use_revision
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.addr import Prefix, parse_prefix
from netorch.model.endpoints.endpoint_service import EndpointService
from netorch.model.eni import NetworkInterface
from netorch.model.security import NetworkAcl, default_acl_id
from netorch.model.vpc import RouteTable, Subnet, Tags, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid
from netorch.records.kinds import kind_of
from netorch.records.read import Stored, read, read_all, read_vpc
from netorch.store.base import Store


class SubnetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet, with facts derived from other records."""

    subnet: Subnet
    vpc: Vpc
    route_table: str  # id of the table in force: its own or the main one
    network_acl: str  # id of the ACL in force: its own or the default one
    available_addresses: int  # free IPv4 addresses, without the reserved ones


def create_subnet(
    store: Store,
    caller: Caller,
    vpc_id: str,
    *,
    name: str,
    cidr: str,
    ipv6_cidr: str = "",
    route_table: str = "",
    network_acl: str = "",
    public_on_launch: bool = False,
    tags: Tags | None = None,
) -> Subnet:
    """Create a subnet of a VPC and return it; `route_table` and `network_acl` are ids, by default the main and default ones.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidSubnet.Range for a range outside the VPC's or outside /16 to /28,
        InvalidSubnet.Conflict for a range that overlaps another subnet, SubnetLimitExceeded, InvalidRouteTableID.NotFound,
        InvalidNetworkAclID.NotFound, InvalidParameterValue for a bad or taken name.
    """

    def make(vpc: Vpc, others: list[Subnet]) -> Subnet:
        subnet = Subnet(
            id=caller.new_id("subnet", vpc.vni),
            vni=vpc.vni,
            name=checks.name(f"subnet {name!r}", name),
            cidr=subnet_range(vpc, f"subnet {name!r}", cidr),
            ipv6_cidr=subnet_range(vpc, f"subnet {name!r}", ipv6_cidr) if ipv6_cidr else "",
            route_table=_own(store, caller, vpc, RouteTable, route_table),
            acl=_own(store, caller, vpc, NetworkAcl, network_acl),
            public_on_launch=public_on_launch,
            tags=checks.tags(f"subnet {name!r}", tags),
        )
        fits_beside(subnet, others)
        return subnet

    return create_part(store, caller, vpc_id, Subnet, name, make)


def modify_subnet(store: Store, caller: Caller, subnet_id: str, *, public_on_launch: bool) -> Subnet:
    """Set whether new instances in a subnet get a public address, and return the subnet; existing instances keep theirs.

    Raises:
      ApiError: InvalidSubnetID.NotFound.
    """

    def decide() -> tuple[Writes, Subnet]:
        _, subnet = read(store, caller, Subnet, subnet_id)
        changed = msgspec.structs.replace(subnet.record, public_on_launch=public_on_launch)
        writes = Writes()
        if changed != subnet.record:
            writes.change(keys.resource(subnet_id), subnet.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def subnet_range(vpc: Vpc, where: str, text: str) -> str:
    """Return a subnet's IPv4 or IPv6 range in canonical form. Raises ApiError: InvalidSubnet.Range."""
    code = "InvalidSubnet.Range"
    prefix = checks.cidr(text, where, code, rules.subnet_ipv6_cidr if ":" in text else rules.subnet_cidr)
    ranges = vpc.ipv6_cidrs if prefix.version == 6 else vpc.cidrs
    if not any(parse_prefix(outer).contains(prefix) for outer in ranges):
        inside = ", ".join(ranges) or f"none of IPv{prefix.version}; associate one first"
        raise ApiError(code, f"{where}: {prefix} is outside the VPC's ranges, {inside}")
    return str(prefix)


def fits_beside(subnet: Subnet, others: Iterable[Subnet]) -> None:
    """Refuse a subnet that overlaps another one of the VPC. Raises ApiError: InvalidSubnet.Conflict."""
    own = ranges_of(subnet)
    for other in others:
        for theirs in ranges_of(other):
            if any(theirs.overlaps(prefix) for prefix in own):
                text = f"subnet {subnet.name!r}: overlaps {theirs} of subnet {other.name} ({other.id}); choose a free range"
                raise ApiError("InvalidSubnet.Conflict", text)


def ranges_of(subnet: Subnet) -> list[Prefix]:
    """Return a subnet's ranges."""
    return [parse_prefix(text) for text in (subnet.cidr, subnet.ipv6_cidr) if text]


def _own(store: Store, caller: Caller, vpc: Vpc, of: type[RouteTable] | type[NetworkAcl], resource_id: str) -> str:
    """Return the id that a subnet stores for its table or ACL, nothing for the default ACL. Raises ApiError.

    A subnet that names the main table keeps that table when another one becomes the main table.
    """
    if not resource_id:
        return ""
    kind = kind_of(of)
    owner, found = read(store, caller, of, resource_id)
    if owner.record.id != vpc.id:
        raise invalid(f"{kind.noun} {resource_id}", "belongs to another VPC", f"choose one of {vpc.id}")
    return "" if isinstance(found.record, NetworkAcl) and found.record.is_default else resource_id


def delete_subnet(store: Store, caller: Caller, subnet_id: str) -> None:
    """Delete a subnet without interfaces.

    Raises:
      ApiError: InvalidSubnetID.NotFound; DependencyViolation while network interfaces have addresses in it, an endpoint service
        uses it, or a route replaces the local one for its range.
    """

    def decide() -> tuple[Writes, None]:
        vpc, subnet = read(store, caller, Subnet, subnet_id)
        vni = vpc.record.vni
        cursor = cursor_revision(store, subnet_id)  # before the reads: an added interface moves the cursor
        used = use_revision(store, vpc.record.id)  # likewise: an added route marks the VPC
        users = [eni for eni in read_all(store, NetworkInterface, vni).values() if eni.record.subnet == subnet_id]
        if users:
            raise in_use("subnet", subnet_id, f"{len(users)} network interface(s)", "terminate or delete them first")
        services = [found.record for found in read_all(store, EndpointService, vni).values() if subnet_id in found.record.subnets]
        if services:
            raise in_use("subnet", subnet_id, f"endpoint service {services[0].name}, whose connections use it", "delete it first")
        refuse_overrides(vpc.record, subnet.record, read_all(store, RouteTable, vni).values())
        writes = Writes()
        delete_writes(writes, vpc, subnet, logs_of(store, vni), cursor, used)
        return writes, None

    attempt(store, decide)


def delete_writes(writes: Writes, vpc: Stored[Vpc], subnet: Stored[Subnet], logs: Logs, cursor: int, used: int) -> None:
    """Add the deletion of an empty subnet; `cursor` is the revision of its cursor, `used` that of the VPC's mark."""
    writes.expect(use_key(vpc.record.id), used)
    delete_part(writes, vpc, subnet)
    delete_logs(writes, vpc.record, logs, subnet.record.id)
    writes.delete(cursor_key(subnet.record.id), cursor)


def associate_route_table(store: Store, caller: Caller, subnet_id: str, route_table: str) -> Subnet:
    """Associate a route table with a subnet on which the main table is in force, and return the subnet.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidRouteTableID.NotFound, InvalidParameterValue for another VPC's table,
        Resource.AlreadyAssociated for a subnet with another table of its own.
    """

    def is_free(subnet: Subnet) -> None:
        if subnet.route_table not in ("", route_table):
            what = f"subnet {subnet.name} ({subnet.id}): is already associated with {subnet.route_table}"
            fix = f"replace the association: netorch route-table replace-association {route_table} {subnet.id}"
            raise ApiError("Resource.AlreadyAssociated", f"{what}; {fix}")

    return _associate(store, caller, subnet_id, "route_table", RouteTable, route_table, is_free)


def replace_route_table_association(store: Store, caller: Caller, subnet_id: str, route_table: str) -> Subnet:
    """Replace a subnet's own route table by another one, and return the subnet.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidRouteTableID.NotFound, InvalidParameterValue for another VPC's table,
        InvalidAssociationID.NotFound for a subnet with the main table.
    """
    return _associate(store, caller, subnet_id, "route_table", RouteTable, route_table, _has_own_table)


def disassociate_route_table(store: Store, caller: Caller, subnet_id: str) -> Subnet:
    """Remove a subnet's own route table, so that the main one is in force, and return the subnet.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidAssociationID.NotFound for a subnet with the main table.
    """
    return _associate(store, caller, subnet_id, "route_table", RouteTable, "", _has_own_table)


def _has_own_table(subnet: Subnet) -> None:
    if not subnet.route_table:
        what = f"subnet {subnet.name} ({subnet.id}): is not associated with a route table, and uses the main one"
        raise ApiError("InvalidAssociationID.NotFound", f"{what}; associate it with one first")


def associate_network_acl(store: Store, caller: Caller, subnet_id: str, network_acl: str) -> Subnet:
    """Associate an ACL with a subnet and return the subnet; an empty id means the default ACL.

    Raises:
      ApiError: InvalidSubnetID.NotFound, InvalidNetworkAclID.NotFound, InvalidParameterValue for another VPC's ACL.
    """
    return _associate(store, caller, subnet_id, "acl", NetworkAcl, network_acl)


def _associate(
    store: Store,
    caller: Caller,
    subnet_id: str,
    field: str,
    of: type[RouteTable] | type[NetworkAcl],
    resource_id: str,
    check: Callable[[Subnet], None] = lambda subnet: None,
) -> Subnet:
    def decide() -> tuple[Writes, Subnet]:
        vpc, subnet = read(store, caller, Subnet, subnet_id)
        check(subnet.record)
        changed = msgspec.structs.replace(subnet.record, **{field: _own(store, caller, vpc.record, of, resource_id)})
        writes = Writes()
        if changed != subnet.record:
            guard_structure(writes, vpc)
            writes.change(keys.resource(subnet_id), subnet.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def describe_subnets(store: Store, caller: Caller, vpc_id: str) -> list[SubnetInfo]:
    """Return a VPC's subnets in address order. Raises ApiError: InvalidVpcID.NotFound. Cost: O(records of the VPC)."""
    vpc = read_vpc(store, caller, vpc_id).record
    main = next((table_id for table_id, table in read_all(store, RouteTable, vpc.vni).items() if table.record.main), "")
    subnets: dict[str, Stored[Subnet]] = read_all(store, Subnet, vpc.vni)
    used = Counter(eni.record.subnet for eni in read_all(store, NetworkInterface, vpc.vni).values())
    infos = [
        SubnetInfo(
            subnet=stored.record,
            vpc=vpc,
            route_table=stored.record.route_table or main,
            network_acl=stored.record.acl or default_acl_id(vpc.id),
            available_addresses=len(checks.usable(parse_prefix(stored.record.cidr))) - used[subnet_id],
        )
        for subnet_id, stored in subnets.items()
    ]
    return sorted(infos, key=lambda info: parse_prefix(info.subnet.cidr))


def describe_subnet(store: Store, caller: Caller, subnet_id: str) -> SubnetInfo:
    """Return one subnet. Raises ApiError: InvalidSubnetID.NotFound."""
    vpc, _ = read(store, caller, Subnet, subnet_id)
    return next(info for info in describe_subnets(store, caller, vpc.record.id) if info.subnet.id == subnet_id)
