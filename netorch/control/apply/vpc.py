"""Plan the structure of one VPC as declared. The order is: deletions, the VPC itself, additions and changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from netorch.control.actions.direct_connect.making import refuse_range
from netorch.control.actions.outside.ranges import give_back, refuse_pooled
from netorch.control.actions.vpcs import create_writes
from netorch.control.apply.base.ends import delete_subnet
from netorch.control.apply.builder import PlanBuilder, canonical, carriers, of_source, own_tags, visible_tags
from netorch.control.apply.changes import Action, Change, differences
from netorch.control.apply.direct_connect.interfaces import VIF_KEYS, VifPlanner
from netorch.control.apply.endpoints.gateway import ENDPOINT_KEYS, EndpointPlanner
from netorch.control.apply.endpoints.interface import change_groups_of
from netorch.control.apply.endpoints.links import pools_of
from netorch.control.apply.endpoints.offered import OFFERED_KEYS, OfferedPlanner
from netorch.control.apply.flow_logs import FlowLogPlanner
from netorch.control.apply.instances import InstancePlanner
from netorch.control.apply.outside.gateways import GATEWAY_KEYS, GatewayPlanner
from netorch.control.apply.outside.nats import NatPlanner
from netorch.control.apply.outside.ranges import Ranges, find_ranges
from netorch.control.apply.policy import PolicyPlanner
from netorch.control.apply.private.connections import VPN_KEYS, VpnPlanner
from netorch.control.apply.route_tables import RouteTablePlanner
from netorch.control.apply.services.dhcp_options import associate, associated, spoken
from netorch.control.base.endpoints.gateway import refuse_service_range
from netorch.control.base.named import add_name
from netorch.control.base.peers import refuse_ranges
from netorch.control.base.uses import use_key
from netorch.control.base.writes import ABSENT, MOST_BYTES, MOST_OPS, Writes, guard_structure
from netorch.model.addr import parse_prefix
from netorch.model.cloud import DEFAULT_VPC_NAME, SubnetDecl, VpcDecl
from netorch.model.eni import NetworkInterface, is_of_endpoint, primary_eni_id
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.gateway import ONLY_GATEWAYS
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import DEFAULT_NAME, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records import keys
from netorch.records.errors import in_use
from netorch.records.read import Stored
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords

UNKNOWN = ABSENT  # the revision of a key that an earlier step of the plan writes; `apply` knows it at commit


def plan_vpc(builder: PlanBuilder, decl: VpcDecl, records: VpcRecords | None) -> Callable[[], None]:
    """Plan a VPC as declared; add nothing if it is equal. Raises ApiError.

    Return a function that adds the rest, which needs the VPC's peering connections.
    """
    path = (decl.owner, decl.name)
    first = len(builder.changes)
    new = records is None
    planned = _to_be(builder, decl) if records is None else records
    ranges = find_ranges(builder, decl, planned)
    if new:
        _new_vpc(builder, ranges, planned)
    builder.planned[path] = builder.vpcs[planned.vni] = planned
    rest = _Structure(builder, ranges, planned, new=new).plan()
    if not new and not builder.default_instances_only(*path):
        _pass_over(builder, planned, first)
    return rest


def _pass_over(builder: PlanBuilder, records: VpcRecords, first: int) -> None:
    """Pass a VPC to this file if the file has changed it, or if its own file is gone; add that to the VPC's change."""
    stored = records.vpc
    vpc = stored.record
    before = vpc.tags.get(SOURCE_TAG, "")
    after = builder.source.after(before, changed=len(builder.changes) > first)
    if after == before:
        return
    changed = msgspec.structs.replace(vpc, tags=of_source(vpc.tags, after))
    builder.step().change(keys.vpc(vpc.vni), stored.mod_revision, changed)
    records.vpc = Stored(changed, UNKNOWN)
    why = differences(source=(before, after))
    for index in range(first, len(builder.changes)):
        known = builder.changes[index]
        if known.kind == "vpc":
            builder.changes[index] = msgspec.structs.replace(known, differences=known.differences + why)
            return
    change = Change(action=Action.CHANGE, kind="vpc", owner=vpc.owner, name=vpc.name, resource_id=vpc.id, differences=why)
    builder.changes.append(change)


def _to_be(builder: PlanBuilder, decl: VpcDecl) -> VpcRecords:
    """Return the records of a new VPC without IPv6 ranges and basic records."""
    path = (decl.owner, decl.name)
    vni = builder.vnis[path].vni
    mark = "" if builder.default_instances_only(*path) else builder.source.label
    vpc = Vpc(
        id=builder.caller.new_id("vpc", vni),
        vni=vni,
        owner=decl.owner,
        name=decl.name,
        cidrs=tuple(decl.cidrs),
        is_default=decl.name == DEFAULT_VPC_NAME,
        enable_dns_support=decl.enable_dns_support,
        enable_dns_hostnames=decl.has_hostnames,
        tags=of_source(decl.tags, mark),
    )
    return VpcRecords(vni, {Vpc: {vpc.id: Stored(associated(builder, decl, vpc), UNKNOWN)}})


def _new_vpc(builder: PlanBuilder, ranges: Ranges, records: VpcRecords) -> None:
    """Add a new VPC with all its ranges."""
    refuse_pooled(f"VPC {ranges.decl.name!r}", ranges.own(), builder.pools)
    vpc = msgspec.structs.replace(records.vpc.record, ipv6_cidrs=ranges.ipv6_cidrs, ipv6_pools=ranges.pools)
    path = (vpc.owner, vpc.name)
    writes = builder.step()
    writes.claim(builder.vnis[path].take(vpc.id))
    ranges.take(builder, writes, vpc.vni)
    associate(builder, writes, None, vpc)
    basics = create_writes(writes, vpc, builder.caller)
    options = spoken(builder, vpc.dhcp_options) if vpc.dhcp_options else ""
    added = differences(
        cidrs=("", vpc.cidrs), ipv6_cidrs=("", tuple(map(ranges.said, vpc.ipv6_cidrs))), dhcp_options=("", options)
    )
    change = Change(action=Action.ADD, kind="vpc", owner=vpc.owner, name=vpc.name, differences=added)
    builder.changes.append(builder.replaced.get(path, change))
    records.vpc = Stored(vpc, UNKNOWN)
    records.of(RouteTable)[basics.table.id] = Stored(basics.table, UNKNOWN)
    records.of(SecurityGroup)[basics.group.id] = Stored(basics.group, UNKNOWN)
    records.of(NetworkAcl)[basics.acl.id] = Stored(basics.acl, UNKNOWN)


class _Structure:
    """The planning of one VPC."""

    def __init__(self, builder: PlanBuilder, ranges: Ranges, records: VpcRecords, *, new: bool) -> None:
        self._builder = builder
        self._ranges = ranges
        self._decl = ranges.decl
        self._records = records
        self._new = new
        self._making = builder.steps[-1] if new else None
        self._subnets = {stored.record.name: stored for stored in records.of(Subnet).values()}
        self._by_name: dict[str, Subnet] = {}  # after the plan

    def plan(self) -> Callable[[], None]:
        """Add everything in an order without dangling references; return a function that adds the routes that need peers."""
        gone = self._gone_subnets() if self._subnets else {}
        instances = InstancePlanner(self._builder, self._decl, self._records, set(gone))
        instances.plan_deletions()
        nats = NatPlanner(self._builder, self._decl, self._records)
        nats.plan_deletions(gone.keys())
        vifs = VifPlanner(self._builder, self._decl, self._records, partial(self._guard, VIF_KEYS))
        vifs.plan_deletions()
        vpns = VpnPlanner(self._builder, self._decl, self._records, partial(self._guard, VPN_KEYS))
        vpns.plan_deletions()
        for stored in gone.values():
            delete_subnet(self._builder, self._records, stored)
        if not self._new:
            self._plan_vpc()
        endpoints = EndpointPlanner(self._builder, self._decl, self._records, partial(self._guard, ENDPOINT_KEYS))
        endpoints.plan()
        policy = PolicyPlanner(self._builder, self._decl, self._records, self._guard)
        policy.plan()
        guard = partial(self._guard, GATEWAY_KEYS)
        gateways = [GatewayPlanner(self._builder, self._decl, self._records, guard, kind) for kind in ONLY_GATEWAYS]
        for gateway in gateways:
            gateway.plan()
        vifs.plan()
        vpns.plan()
        tables = RouteTablePlanner(self._builder, self._decl, self._records, self._guard, endpoints)
        tables.plan()
        for decl in self._decl.subnets:
            self._plan_subnet(decl, tables, policy.acl_ids)
        tables.plan_deletions()
        policy.plan_acl_deletions()
        pools = pools_of(self._builder, self._records)
        nats.request_addresses(self._by_name, pools)
        instances.plan_additions(self._by_name, pools, policy)
        nats.plan_additions(self._by_name, pools)
        self._plan_links(instances.interfaces, policy)

        def routes() -> None:
            tables.plan_routes(self._by_name, instances.interfaces)
            endpoints.plan_deletions()
            for gateway in gateways:
                gateway.plan_deletion()

        if tables.names_peers:
            tables.withdraw()
        else:
            routes()
        policy.plan_deletions()
        FlowLogPlanner(self._builder, self._decl, self._records).plan(self._by_name, instances.interfaces)
        return routes if tables.names_peers else _nothing

    def _plan_links(self, interfaces: dict[str, str], policy: PolicyPlanner) -> None:
        """Add services for other VPCs, and changes of endpoints; new endpoints come after all VPCs."""
        self._builder.interfaces[self._decl.owner, self._decl.name] = interfaces
        offered = OfferedPlanner(self._builder, self._decl, self._records, partial(self._guard, OFFERED_KEYS))
        offered.plan(self._by_name, interfaces)
        change_groups_of(self._builder, self._decl, self._records, policy.groups_of)
        self._builder.groups_of[self._records.vni] = policy.groups_of

    def _guard(self, keys_of_one: int = 2) -> Writes:
        """Return the next step, which rewrites the VPC's record; or the step that creates the VPC, if a few more keys fit.

        A part of a VPC has two keys: its record and its name.
        """
        making = self._making
        if making is not None and len(making) + keys_of_one <= MOST_OPS and making.bytes() < MOST_BYTES // 2:
            return making
        writes = self._builder.step()
        guard_structure(writes, self._records.vpc)
        return writes

    def _note(self, action: Action, kind: str, name: str, resource_id: str = "", **fields: tuple[object, object]) -> None:
        change = Change(
            action=action,
            kind=kind,
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=name,
            resource_id=resource_id,
            differences=differences(**fields),
            hosts=carriers(self._records),
        )
        self._builder.changes.append(change)

    def _plan_vpc(self) -> None:
        stored = self._records.vpc
        vpc = stored.record
        ranges = self._ranges
        own = [cidr for cidr in ranges.own() if cidr not in vpc.ipv6_cidrs]
        refuse_pooled(f"VPC {vpc.name!r}", own, self._builder.pools)
        wanted = msgspec.structs.replace(
            associated(self._builder, self._decl, vpc),
            cidrs=tuple(self._decl.cidrs),
            ipv6_cidrs=ranges.ipv6_cidrs,
            ipv6_pools=ranges.pools,
            enable_dns_support=self._decl.enable_dns_support,
            enable_dns_hostnames=self._decl.has_hostnames,
            tags=own_tags(self._decl.tags, vpc.tags),
        )
        if wanted == vpc:
            return
        writes = self._builder.step()
        writes.change(keys.vpc(vpc.vni), stored.mod_revision, wanted)
        associate(self._builder, writes, vpc, wanted)
        ranges.take(self._builder, writes, vpc.vni)
        gone = [cidr for cidr in vpc.ipv6_pools if cidr not in wanted.ipv6_pools]
        give_back(writes, vpc, gone, self._builder.claim, self._builder.caller.now())
        if (wanted.cidrs, wanted.ipv6_cidrs) != (vpc.cidrs, vpc.ipv6_cidrs):
            connections, peers = self._records.each(PeeringConnection), self._builder.peers_of(self._records)
            refuse_range(wanted, self._records.each(VirtualInterface))
            for cidr in set(wanted.cidrs) - set(vpc.cidrs):
                refuse_service_range(vpc.id, parse_prefix(cidr), self._records.of(PrefixList).values())
            refuse_ranges(writes, vpc, wanted, connections, peers, self._builder.caller.now())
            writes.expect(use_key(vpc.id), self._builder.revision_of(use_key(vpc.id)))  # detects routes for the old ranges
        self._records.vpc = Stored(wanted, UNKNOWN)
        change = Change(
            action=Action.CHANGE,
            kind="vpc",
            owner=vpc.owner,
            name=vpc.name,
            resource_id=vpc.id,
            differences=differences(
                cidrs=(vpc.cidrs, wanted.cidrs),
                ipv6_cidrs=(vpc.ipv6_cidrs, tuple(map(ranges.said, wanted.ipv6_cidrs))),
                enable_dns_support=(vpc.enable_dns_support, wanted.enable_dns_support),
                enable_dns_hostnames=(vpc.enable_dns_hostnames, wanted.enable_dns_hostnames),
                dhcp_options=(spoken(self._builder, vpc.dhcp_options), spoken(self._builder, wanted.dhcp_options)),
                tags=(visible_tags(vpc.tags), self._decl.tags),
            ),
            hosts=carriers(self._records),
        )
        self._builder.changes.append(change)

    def _gone_subnets(self) -> dict[str, Stored[Subnet]]:
        """Return the subnets to delete: undeclared, or declared with another range."""
        declared = {decl.name: decl for decl in self._decl.subnets}
        gone = {}
        for name, stored in self._subnets.items():
            decl = declared.get(name)
            if decl is None or _other_range(stored.record, decl):
                gone[stored.record.id] = stored
                self._check_default_instances(stored.record)
            if decl is None:
                self._note(Action.DELETE, "subnet", name, stored.record.id, cidr=(stored.record.cidr, ""))
        return gone

    def _check_default_instances(self, subnet: Subnet) -> None:
        """Refuse to delete a subnet with interfaces that a file cannot name: all except those of NAT gateways and instances."""
        for eni in self._records.of(NetworkInterface).values():
            own = eni.record.instance and eni.record.id == primary_eni_id(eni.record.instance)
            of_nat = eni.record.gateway and not is_of_endpoint(eni.record)
            if eni.record.subnet == subnet.id and not own and not of_nat:
                by, fix = f"interface {eni.record.id}", "delete that first"
                if is_of_endpoint(eni.record):
                    by, fix = f"the address {eni.record.address} of a connection to a service", "reject that connection first"
                raise in_use("subnet", f"{subnet.name} ({subnet.id})", by, fix)

    def _plan_subnet(self, decl: SubnetDecl, planned: RouteTablePlanner, acl_ids: dict[str, str]) -> None:
        stored = self._subnets.get(decl.name)
        replaced = stored is not None and _other_range(stored.record, decl)
        wanted = Subnet(
            id=self._builder.caller.new_id("subnet", self._records.vni) if stored is None or replaced else stored.record.id,
            vni=self._records.vni,
            name=decl.name,
            cidr=decl.cidr,
            ipv6_cidr=canonical(decl.ipv6_cidr) if decl.ipv6_cidr else "",
            route_table=planned.association(decl.route_table, stored.record.route_table if stored is not None else ""),
            acl=acl_ids[decl.network_acl] if decl.network_acl else "",
            public_on_launch=decl.public_on_launch,
            tags=decl.tags,
        )
        self._by_name[decl.name] = wanted
        if stored is not None and wanted == stored.record:
            return
        writes = self._guard()
        key = keys.resource(wanted.id)
        if stored is None or replaced:
            writes.put(key, wanted)
            add_name(writes, self._records.vpc.record, wanted)
            self._records.of(Subnet)[wanted.id] = Stored(wanted, UNKNOWN)
        else:
            writes.change(key, stored.mod_revision, wanted)
        tables = {table.record.id: table.record.name for table in self._records.of(RouteTable).values()}
        tables |= {table_id: name for name, table_id in planned.ids.items()}
        acls = {acl.record.id: acl.record.name for acl in self._records.of(NetworkAcl).values()}
        acls |= {acl_id: name for name, acl_id in acl_ids.items() if acl_id}
        self._note_subnet(stored, wanted, replaced, tables | acls)

    def _note_subnet(self, stored: Stored[Subnet] | None, wanted: Subnet, replaced: bool, names: dict[str, str]) -> None:
        if stored is None:
            self._note(
                Action.ADD,
                "subnet",
                wanted.name,
                cidr=("", wanted.cidr),
                ipv6_cidr=("", self._ranges.said(wanted.ipv6_cidr)),
                network_acl=("", names.get(wanted.acl, "")),
                public_on_launch=("", _yes(wanted)),
            )
            return
        before = stored.record
        self._note(
            Action.REPLACE if replaced else Action.CHANGE,
            "subnet",
            wanted.name,
            before.id,
            cidr=(before.cidr, wanted.cidr),
            ipv6_cidr=(before.ipv6_cidr, self._ranges.said(wanted.ipv6_cidr)),
            route_table=(names.get(before.route_table, ""), names.get(wanted.route_table, "")),
            network_acl=(names.get(before.acl, DEFAULT_NAME), names.get(wanted.acl, DEFAULT_NAME)),
            public_on_launch=(_yes(before), _yes(wanted)),
            tags=(before.tags, wanted.tags),
        )


def _yes(subnet: Subnet) -> str:
    return "true" if subnet.public_on_launch else ""


def _nothing() -> None:
    pass


def _other_range(subnet: Subnet, decl: SubnetDecl) -> bool:
    """Return whether a subnet must be recreated: its range never changes, but it may get an IPv6 range later."""
    ipv6 = canonical(decl.ipv6_cidr) if decl.ipv6_cidr else ""
    return subnet.cidr != decl.cidr or (subnet.ipv6_cidr != "" and subnet.ipv6_cidr != ipv6)
