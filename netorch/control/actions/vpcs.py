"""VPCs and their address ranges.

Every change of a VPC's structure (its CIDRs, subnets, route tables and ACLs; the set of its security groups and prefix lists)
rewrites the VPC's own record. If two such changes happen at the same time, one fails and is decided again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from netorch.control.actions import acls, groups
from netorch.control.actions.direct_connect.making import refuse_range
from netorch.control.actions.outside.gateways import put_on
from netorch.control.actions.outside.ranges import Provided, give_back, kept_pools, provide, refuse_pooled
from netorch.control.actions.services.dhcp_options import forget_writes
from netorch.control.actions.services.zones import part_writes, zones_in
from netorch.control.base import checks
from netorch.control.base.endpoints.gateway import refuse_service_range
from netorch.control.base.named import add_name, drop_name
from netorch.control.base.pairs import fit_pairs
from netorch.control.base.peers import connections_of, delete_idle, peers_of, refuse_ranges, refuse_unmapped
from netorch.control.base.pools import Claims, claims_of, gives, read_pools
from netorch.control.base.quotas import Quotas, check_growth, check_room, quotas_of
from netorch.control.base.routes import refuse_covered_routes, refuse_replaced_local
from netorch.control.base.uses import use_key, use_revision
from netorch.control.base.writes import Writes, attempt, take_name
from netorch.errors import ApiError
from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps, parse_prefix
from netorch.model.cloud import DEFAULT_SUBNET_CIDR, DEFAULT_SUBNET_NAME, DEFAULT_VPC_CIDR, DEFAULT_VPC_NAME
from netorch.model.ids import Vni
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import InternetGateway
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.services.zones import VpcZone
from netorch.model.vpc import MAIN_ROUTE_TABLE, RouteTable, Subnet, Tags, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name, in_use, invalid
from netorch.records.kinds import keys_of, of_vpc
from netorch.records.read import Stored, read_all, read_vpc
from netorch.store.alloc import HOLD_DOWN_S, FreeVni, find_vnis, freed_by, holder_of, release, take, vni_key
from netorch.store.base import KeyValue, Store


def create_vpc(
    store: Store,
    caller: Caller,
    *,
    name: str,
    cidrs: Sequence[str],
    ipv6_cidrs: Sequence[str] = (),
    provided: Provided | None = None,
    vni: int | None = None,
    tags: Tags | None = None,
) -> Vpc:
    """Create a VPC with its main route table, default security group and default ACL, and return it; `vni` is a request.

    `provided` requests an IPv6 range from an address pool.

    Raises:
      ApiError: InvalidVpc.Range for a CIDR outside /16 to /28 or for two that overlap, VpcLimitExceeded, CidrLimitExceeded,
        InvalidParameterValue for a bad or taken name or VNI, or an IPv6 CIDR in an address pool, InsufficientAddressCapacity,
        InvalidPublicIpv4PoolID.NotFound.
    """
    if name == DEFAULT_VPC_NAME:
        raise invalid(
            "VPC 'default'", "the name belongs to the default VPC", "use `netorch vpc create-default`, or choose another name"
        )

    def decide() -> tuple[Writes, Vpc]:
        writes = Writes()
        asked = partial(_create, name=name, cidrs=cidrs, ipv6_cidrs=ipv6_cidrs, provided=provided, vni=vni, tags=tags)
        return writes, asked(writes, store, caller)[0]

    return attempt(store, decide)


def create_default_vpc(store: Store, caller: Caller) -> Vpc:
    """Create the owner's default VPC, 172.31.0.0/16 with one subnet, and return it.

    If there is a pair of edges with an address pool, the VPC leads to the internet and new instances get public addresses, as
    in EC2.

    Raises:
      ApiError: DefaultVpcAlreadyExists, VpcLimitExceeded.
    """

    def decide() -> tuple[Writes, Vpc]:
        if store.get(keys.name(caller.owner, "vpc", DEFAULT_VPC_NAME)) is not None:
            raise ApiError("DefaultVpcAlreadyExists", f"owner {caller.owner}: already has a default VPC; use that one")
        writes = Writes()
        return writes, default_vpc_writes(writes, store, caller)[0]

    return attempt(store, decide)


def default_vpc_writes(writes: Writes, store: Store, caller: Caller) -> tuple[Vpc, Subnet]:
    """Add the records of the owner's default VPC, and return it with its subnet. Raises ApiError: VpcLimitExceeded."""
    vpc, basics = _create(writes, store, caller, name=DEFAULT_VPC_NAME, cidrs=[DEFAULT_VPC_CIDR])
    subnet = Subnet(
        id=caller.new_id("subnet", vpc.vni),
        vni=vpc.vni,
        name=DEFAULT_SUBNET_NAME,
        cidr=DEFAULT_SUBNET_CIDR,
        public_on_launch=_lead_outside(writes, store, caller, vpc, basics.table),
    )
    writes.put(keys.resource(subnet.id), subnet)
    add_name(writes, vpc, subnet)
    return vpc, subnet


def _lead_outside(writes: Writes, store: Store, caller: Caller, vpc: Vpc, main: RouteTable) -> bool:
    """Add a default VPC's internet gateway and a route to it if a pair of edges has addresses, and return whether one has."""
    arriving = {stored.record.pair for stored in read_pools(store).values() if gives(stored.record, 4)}
    pair = next((pair for pair in fit_pairs(store, caller) if pair.name in arriving), None)
    if pair is None:
        return False
    gateway, _ = put_on(writes, caller, vpc, pair, [], InternetGateway(id="", vni=vpc.vni))
    route = VpcRoute(destination="0.0.0.0/0", target=gateway.id)
    writes.put(keys.resource(main.id), msgspec.structs.replace(main, routes=(route,)))
    return True


def _create(
    writes: Writes,
    store: Store,
    caller: Caller,
    *,
    name: str,
    cidrs: Sequence[str],
    ipv6_cidrs: Sequence[str] = (),
    provided: Provided | None = None,
    vni: int | None = None,
    tags: Tags | None = None,
) -> tuple[Vpc, Basics]:
    where = f"VPC {name!r}"
    checks.name(where, name)
    checks.name(f"owner {caller.owner!r}", caller.owner)
    quotas = quotas_of(store, caller.owner)
    ranges, ipv6_ranges = vpc_ranges(where, cidrs, ipv6_cidrs, quotas)
    refuse_pooled(where, ipv6_ranges, read_pools(store))
    names = store.list(keys.name(caller.owner, "vpc", "")).kvs
    if any(kv.key == keys.name(caller.owner, "vpc", name) for kv in names):
        raise duplicate_name("vpc", name, f"owner {caller.owner}")
    check_room(quotas, "VpcLimitExceeded", f"owner {caller.owner}", len(names) + 1)
    if vni is None:
        free = next_vni(writes, store, caller)
    else:
        free = requested_vni(store.get(vni_key(vni)), caller, where, vni, caller.owner, name)
    vpc = Vpc(
        id=caller.new_id("vpc", free.vni),
        vni=free.vni,
        owner=caller.owner,
        name=name,
        cidrs=ranges,
        ipv6_cidrs=ipv6_ranges,
        is_default=name == DEFAULT_VPC_NAME,
        enable_dns_hostnames=name == DEFAULT_VPC_NAME,
        tags=checks.tags(where, tags),
    )
    writes.claim(free.take(vpc.id))
    if provided is not None:
        vpc = provide(writes, store, caller, vpc, provided)
        room_for_ranges(where, vpc.cidrs, vpc.ipv6_cidrs, quotas, None)
    return vpc, create_writes(writes, vpc, caller)


def next_vni(writes: Writes, store: Store, caller: Caller) -> FreeVni:
    """Return the next free VNI, and add its claim."""
    block = find_vnis(store, 1, caller.now())
    writes.claim(block.advance)
    return block.free[0]


def requested_vni(known: KeyValue | None, caller: Caller, where: str, vni: int, owner: str, name: str) -> FreeVni:
    """Return the requested VNI; `known` is its claim.

    Raises:
      ApiError: InvalidParameterValue while it is held, or in hold-down after another VPC than the owner's of the same name.
    """
    if violation := rules.vni(vni):
        raise invalid(where, violation.what, violation.fix)
    returns = freed_by(known) == known_as(owner, name)
    if not returns and take(vni_key(vni), known, "", caller.now()) is None:
        what = f"VNI {vni} is in use" if holder_of(known) else f"VNI {vni} was freed less than {HOLD_DOWN_S:.0f} s ago"
        raise invalid(where, what, "choose another one, or leave it out")
    return FreeVni(vni=Vni(vni), mod_revision=known.mod_revision if known else 0)


def known_as(owner: str, name: str) -> str:
    """Return the last holder that a freed VNI records: the same VPC may take it again at once."""
    return f"{owner}/{name}"


def room_for_ranges(where: str, cidrs: Sequence[str], ipv6_cidrs: Sequence[str], quotas: Quotas, had: Vpc | None) -> None:
    """Refuse too many ranges of an IP version, if more than the VPC `had`. Raises ApiError: CidrLimitExceeded."""
    before = (had.cidrs, had.ipv6_cidrs) if had is not None else ((), ())
    for known, asked in zip(before, (cidrs, ipv6_cidrs), strict=True):
        check_growth(quotas, "CidrLimitExceeded", where, len(known), len(asked))


def vpc_ranges(
    where: str, cidrs: Sequence[str], ipv6_cidrs: Sequence[str], quotas: Quotas, had: Vpc | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a VPC's IPv4 and IPv6 ranges in canonical form; `had` is the VPC before the change. Raises ApiError."""
    if not cidrs:
        raise ApiError("MissingParameter", f"{where}: has no IPv4 CIDR; give it one, e.g. 10.0.0.0/16")
    room_for_ranges(where, cidrs, ipv6_cidrs, quotas, had)
    code = "InvalidVpc.Range"
    ranges = [checks.cidr(text, where, code, rules.vpc_cidr) for text in cidrs]
    ipv6_ranges = [checks.cidr(text, where, code, rules.vpc_ipv6_cidr) for text in ipv6_cidrs]
    for first, second in first_overlaps((prefix, str(prefix)) for prefix in ranges + ipv6_ranges):
        raise ApiError(code, f"{where}: {second} overlaps {first}; choose ranges that do not overlap")
    return tuple(map(str, ranges)), tuple(map(str, ipv6_ranges))


class Basics(msgspec.Struct, frozen=True, kw_only=True):
    """The records that every VPC has from the start."""

    table: RouteTable  # the main table
    group: SecurityGroup
    acl: NetworkAcl


def create_writes(writes: Writes, vpc: Vpc, caller: Caller) -> Basics:
    """Add the records of a new VPC, and return its basic records.

    The claim of the VNI is compared, so no key exists below the VPC's prefix yet, and the other records need no compare.
    """
    main = RouteTable(id=caller.new_id("rtb", vpc.vni), vni=vpc.vni, name=MAIN_ROUTE_TABLE, main=True)
    writes.claim(take_name(vpc.owner, "vpc", vpc.name, vpc.id))
    writes.put(keys.vpc(vpc.vni), vpc)
    writes.put(keys.resource(main.id), main)
    basics = Basics(table=main, group=groups.create_default(writes, caller, vpc), acl=acls.create_default(writes, vpc))
    for record in (vpc, basics.table, basics.group, basics.acl):
        add_name(writes, vpc, record)
    return basics


def delete_vpc(store: Store, caller: Caller, vpc_id: str) -> None:
    """Delete an empty VPC with its main route table, default group and ACL, flow logs and peering connections.

    Its VNI stays unused for a while.

    Raises:
      ApiError: InvalidVpcID.NotFound; DependencyViolation while it has subnets, network interfaces, or route tables, security
        groups, network ACLs or prefix lists of the customer's own.
    """

    def decide() -> tuple[Writes, None]:
        vpc = read_vpc(store, caller, vpc_id)
        vni = vpc.record.vni
        along = _what_goes_along(store, vpc.record)
        writes = Writes()
        delete_writes(writes, caller, vpc, along, store.get(vni_key(vni)), claims_of(store))
        return writes, None

    vpc = read_vpc(store, caller, vpc_id).record
    _what_goes_along(store, vpc)
    delete_idle(store, vpc.vni)
    attempt(store, decide)


def _what_goes_along(store: Store, vpc: Vpc) -> list[Any]:
    """Return the records deleted together with a VPC, its zones' included. Raises ApiError: DependencyViolation for others."""
    had = {kind: read_all(store, kind.type, vpc.vni) for kind in of_vpc()}
    for kind, found in had.items():
        if own := sum(not kind.goes_along(stored.record) for stored in found.values()):
            raise in_use("vpc", vpc.id, f"{own} {kind.noun}(s)", f"delete its {kind.noun}s first")
    return [*(stored.record for found in had.values() for stored in found.values()), *zones_in(store, vpc.vni)]


def delete_writes(
    writes: Writes, caller: Caller, vpc: Stored[Vpc], along: Iterable[Any], held: KeyValue | None, claims: Claims
) -> None:
    """Add the deletion of a VPC and of the records that go along with it; `held` is its VNI's claim.

    Its ranges from pools are given back; `claims` reads their holders. Every addition to a VPC rewrites or compares its record,
    so only that record is compared.
    """
    record = vpc.record
    writes.delete(keys.vpc(record.vni), vpc.mod_revision)
    drop_name(writes, record, record)
    for part in along:
        if isinstance(part, VpcZone):
            part_writes(writes, record.owner, part.zone, record.id)
            continue
        for key in keys_of(part):
            writes.drop(key)
        drop_name(writes, record, part)
    forget_writes(writes, record)
    writes.drop(keys.name(record.owner, "vpc", record.name))
    writes.drop(use_key(record.id))
    writes.drop(keys.public_mark(record.vni))
    give_back(writes, record, record.ipv6_pools, claims, caller.now())
    if held is not None:
        writes.claim(release(held, caller.now(), known_as(record.owner, record.name)))


def describe_vpc(store: Store, caller: Caller, vpc_id: str) -> Vpc:
    """Return one VPC. Raises ApiError: InvalidVpcID.NotFound."""
    return read_vpc(store, caller, vpc_id).record


def associate_cidr(store: Store, caller: Caller, vpc_id: str, cidr: str | Provided) -> Vpc:
    """Add a range to a VPC and return the VPC: IPv4 or IPv6, or a range from an address pool.

    Raises:
      ApiError: as `create_vpc` for a range from an address pool.
      ApiError: InvalidVpcID.NotFound, CidrLimitExceeded, OperationNotPermitted while a peering request of the VPC is pending,
        InvalidVpc.Range for a bad range, one that overlaps another range of the VPC, of a peer or of a virtual interface, or
        one that equals or contains the destination of a route.
    """

    def decide() -> tuple[Writes, Vpc]:
        stored = read_vpc(store, caller, vpc_id)
        vpc = stored.record
        writes = Writes()
        wanted = _with_own(store, vpc, cidr) if isinstance(cidr, str) else provide(writes, store, caller, vpc, cidr)
        ranges, ipv6_ranges = vpc_ranges(f"VPC {vpc_id}", wanted.cidrs, wanted.ipv6_cidrs, quotas_of(store, vpc.owner), vpc)
        changed = msgspec.structs.replace(wanted, cidrs=ranges, ipv6_cidrs=ipv6_ranges)
        used = use_revision(store, vpc_id)  # before the reads: an added route marks the VPC
        new = parse_prefix((ranges if ranges != vpc.cidrs else ipv6_ranges)[-1])
        refuse_covered_routes(vpc_id, new, read_all(store, RouteTable, vpc.vni).values())
        refuse_service_range(vpc_id, new, read_all(store, PrefixList, vpc.vni).values())
        writes.expect(use_key(vpc_id), used)
        writes.change(keys.vpc(vpc.vni), stored.mod_revision, changed)
        refuse_range(changed, (found.record for found in read_all(store, VirtualInterface, vpc.vni).values()))
        connections = [found.record for found in read_all(store, PeeringConnection, vpc.vni).values()]
        refuse_ranges(writes, vpc, changed, connections, peers_of(store, caller, connections), caller.now())
        return writes, changed

    return attempt(store, decide)


def _with_own(store: Store, vpc: Vpc, cidr: str) -> Vpc:
    """Return a VPC with one more range of the customer's own, not yet checked otherwise. Raises ApiError."""
    if ":" not in cidr:
        return msgspec.structs.replace(vpc, cidrs=(*vpc.cidrs, cidr))
    where = f"VPC {vpc.id}"
    new = str(checks.cidr(cidr, where, "InvalidVpc.Range", rules.vpc_ipv6_cidr))
    refuse_pooled(where, [new], read_pools(store))
    return msgspec.structs.replace(vpc, ipv6_cidrs=(*vpc.ipv6_cidrs, new))


def disassociate_cidr(store: Store, caller: Caller, vpc_id: str, cidr: str) -> Vpc:
    """Remove a range from a VPC and return the VPC. A range from an address pool goes into hold-down.

    Raises:
      ApiError: InvalidVpcID.NotFound, InvalidParameterValue for a range that the VPC does not have, OperationNotPermitted for
        the primary range, DependencyViolation while a subnet lies in it, a route replaces its local one, or a mapped peering
        connection uses it.
    """

    def decide() -> tuple[Writes, Vpc]:
        stored = read_vpc(store, caller, vpc_id)
        vpc = stored.record
        gone = _associated(vpc, cidr)
        if str(gone) == vpc.cidrs[0]:
            raise ApiError("OperationNotPermitted", f"VPC {vpc_id}: {gone} is its primary range; create another VPC instead")
        for subnet in read_all(store, Subnet, vpc.vni).values():
            for text in (subnet.record.cidr, subnet.record.ipv6_cidr):
                if text and gone.contains(parse_prefix(text)):
                    raise in_use("vpc", vpc_id, f"subnet {subnet.record.id} {text} in {gone}", "delete that subnet first")
        ranges = tuple(text for text in vpc.cidrs if text != str(gone))
        ipv6_ranges = tuple(text for text in vpc.ipv6_cidrs if text != str(gone))
        pools = kept_pools(vpc, ipv6_ranges)
        changed = msgspec.structs.replace(vpc, cidrs=ranges, ipv6_cidrs=ipv6_ranges, ipv6_pools=pools)
        used = use_revision(store, vpc_id)  # before the reads: an added route marks the VPC
        refuse_replaced_local(vpc_id, gone, read_all(store, RouteTable, vpc.vni).values())
        refuse_unmapped(changed, connections_of(store, caller, vpc), caller.now())
        writes = Writes()
        writes.expect(use_key(vpc_id), used)
        writes.change(keys.vpc(vpc.vni), stored.mod_revision, changed)
        give_back(writes, vpc, [str(gone)], claims_of(store), caller.now())
        return writes, changed

    return attempt(store, decide)


def _associated(vpc: Vpc, cidr: str) -> Prefix:
    rule = rules.vpc_ipv6_cidr if ":" in cidr else rules.vpc_cidr
    gone = checks.cidr(cidr, f"VPC {vpc.id}", "InvalidVpc.Range", rule)
    if str(gone) not in vpc.cidrs + vpc.ipv6_cidrs:
        raise invalid(
            f"VPC {vpc.id}", f"{gone} is not one of its ranges", f"choose one of {', '.join(vpc.cidrs + vpc.ipv6_cidrs)}"
        )
    return gone
