"""Checks that find all errors of a declared cloud at once. Pure. The rules for single values are in `netorch.model.rules`.

These checks ignore quotas: `netorch.control` checks them, because it knows the stored resources. An invalid value is reported
once and skipped in later checks, so that no mistake is reported twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netorch.errors import Problem
from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps
from netorch.model.check.addresses import AddressChecker, Subnets
from netorch.model.check.direct_connect import check_connections, check_virtual_interfaces, check_vlans
from netorch.model.check.endpoints import (
    Around,
    check_buckets,
    check_endpoint_services,
    check_endpoints,
    check_interface_endpoints,
    check_services,
)
from netorch.model.check.flow_logs import check_flow_logs
from netorch.model.check.instances import InstanceChecker
from netorch.model.check.nats import check_nat_gateways
from netorch.model.check.notes import Memo, Notes, Where
from netorch.model.check.outside import KnownHost, Roles, check_edges, check_elastic_ips, check_gateways, check_pools, known_pairs
from netorch.model.check.peerings import check_peerings
from netorch.model.check.provided import check_provided_subnet, no_own_range
from netorch.model.check.routes import Surroundings, check_routes, check_table_names
from netorch.model.check.security import Names, Policies, check_policies, no_such
from netorch.model.check.services import check_dhcp_options
from netorch.model.check.vpn import check_vpns
from netorch.model.check.zones import check_zones
from netorch.model.cloud import (
    DEFAULT_SUBNET_CIDR,
    DEFAULT_SUBNET_NAME,
    DEFAULT_VPC_CIDR,
    DEFAULT_VPC_NAME,
    Cloud,
    HostDecl,
    InstanceDecl,
    PeeringDecl,
    SubnetDecl,
    VpcDecl,
    declared_gateways,
)
from netorch.model.eni import Role
from netorch.model.outside.provided import PROVIDED, provided_number
from netorch.model.routing.mapped import read_ranges
from netorch.model.rules import Violation, shown
from netorch.model.vpc import DEFAULT_OWNER


def default_vpc() -> VpcDecl:
    """Return the default VPC for top-level instances, if the file does not declare it."""
    subnet = SubnetDecl(name=DEFAULT_SUBNET_NAME, cidr=DEFAULT_SUBNET_CIDR)
    return VpcDecl(name=DEFAULT_VPC_NAME, owner=DEFAULT_OWNER, cidrs=[DEFAULT_VPC_CIDR], subnets=[subnet])


def check_cloud(cloud: Cloud, hosts: Mapping[str, KnownHost] | None = None) -> list[Problem]:
    """Return all problems of a cloud; empty if it is valid. `hosts` are the stored hosts, or None if they are unknown.

    Cost: linear, except for sorting each VPC's subnets.
    """
    checker = _Checker()
    if cloud.name and (violation := checker.names[cloud.name]):
        checker.add(violation, ("name",))
    roles: Mapping[str, Role] | None = checker.hosts(cloud.hosts)
    if hosts is not None and (roles is not None or not cloud.hosts):
        roles = Roles(hosts, roles or {})
    check_edges(checker, cloud.hosts)
    check_connections(checker, cloud, roles)
    if cloud.address_pools:
        check_pools(checker, cloud.address_pools, cloud.hosts, known_pairs(cloud.hosts, hosts))
    vnis: dict[int, int] = {}
    names: dict[tuple[str, str], int] = {}
    default_index: int | None = None
    for i, vpc in enumerate(cloud.vpcs):
        other = names.setdefault((vpc.owner, vpc.name), i)
        if other != i and not (checker.names[vpc.name] or checker.names[vpc.owner]):
            what = f"{shown(vpc.name)} is also the name of vpcs[{other}] of owner {shown(vpc.owner)}"
            checker.add(Violation(what, "rename one"), ("vpcs", i, "name"))
        if vpc.vni is not None and rules.vni(vpc.vni) is None and (other := vnis.setdefault(vpc.vni, i)) != i:
            violation = Violation(f"{vpc.vni} is also the VNI of vpcs[{other}]", "choose another one, or leave it out")
            checker.add(violation, ("vpcs", i, "vni"))
        default_instances: Sequence[InstanceDecl] = ()
        if default_index is None and vpc.name == DEFAULT_VPC_NAME and vpc.owner == DEFAULT_OWNER:
            default_index, default_instances = i, cloud.instances
        checker.vpc(vpc, ("vpcs", i), roles, default_instances)
    if default_index is None and cloud.instances:
        checker.vpc(default_vpc(), (), roles, cloud.instances)
    check_peerings(checker, cloud)
    check_elastic_ips(checker, cloud)
    check_dhcp_options(checker, cloud)
    check_services(checker, cloud)
    check_buckets(checker, cloud)
    check_zones(checker, cloud)
    check_vpns(checker, cloud)
    check_vlans(checker, cloud)
    return checker.problems


def check_vpc(vpc: VpcDecl) -> list[Problem]:
    """Return all problems of a single VPC. Paths begin at the VPC. Hosts are not checked."""
    checker = _Checker()
    checker.vpc(vpc, (), None, ())
    return checker.problems


class _Checker(Notes):
    """The checks of hosts and VPCs."""

    def __init__(self) -> None:
        super().__init__()
        self._vpc_cidrs = Memo(rules.vpc_cidr)
        self._cidrs = Memo(rules.subnet_cidr)
        self._vpc_cidrs6 = Memo(rules.vpc_ipv6_cidr)
        self._cidrs6 = Memo(rules.subnet_ipv6_cidr)
        self._netns: dict[tuple[str, str], Where] = {}

    def hosts(self, hosts: Sequence[HostDecl]) -> dict[str, Role] | None:
        """Check the hosts. Return their roles, or None if the file declares no hosts or one has an invalid name."""
        roles: dict[str, Role] = {}
        vteps: dict[int, int] = {}
        all_named = True
        for i, host in enumerate(hosts):
            where: Where = ("hosts", i)
            if violation := rules.host_name(host.name):
                self.add(violation, where, ("name",))
                all_named = False
            elif host.name in roles:
                self.add(Violation(f"{shown(host.name)} is the name of two hosts", "rename one"), where, ("name",))
            roles.setdefault(host.name, host.role)
            vtep = rules.underlay_address(host.underlay)
            if isinstance(vtep, Violation):
                self.add(vtep, where, ("underlay",))
            elif (other := vteps.setdefault(vtep, i)) != i:
                self.add(
                    Violation(f"{host.underlay} is also the underlay address of hosts[{other}]", "give each host its own"),
                    where,
                    ("underlay",),
                )
            if violation := rules.capacity(host.capacity, hypervisor=host.role is Role.HYPERVISOR):
                self.add(violation, where, ("capacity",))
            if host.tags:
                self.tags(host.tags, where)
        return roles if hosts and all_named else None

    def vpc(
        self, vpc: VpcDecl, where: Where, roles: Mapping[str, Role] | None, default_instances: Sequence[InstanceDecl]
    ) -> None:
        """Check a VPC with its resources, and the top-level instances that belong to it."""
        if violation := self.names[vpc.name]:
            self.add(violation, where, ("name",))
        if violation := self.names[vpc.owner]:
            self.add(violation, where, ("owner",))
        if vpc.vni is not None and (violation := rules.vni(vpc.vni)):
            self.add(violation, where, ("vni",))
        if vpc.tags:
            self.tags(vpc.tags, where)
        if not vpc.cidrs:
            self.add(Violation("the VPC has no CIDR", "write one, e.g. [10.0.0.0/16]"), where, ("cidrs",))
        blocks = self._blocks(vpc.cidrs, self._vpc_cidrs, where, "cidrs")
        blocks6 = self._blocks(vpc.ipv6_cidrs, self._vpc_cidrs6, where, "ipv6_cidrs", PROVIDED) if vpc.ipv6_cidrs else []
        tables = check_table_names(self, vpc, where)
        policies = check_policies(self, vpc, where)
        subnets = self._subnets(vpc, where, blocks, blocks6)
        self._subnet_references(vpc, where, tables, policies)
        addresses = AddressChecker(self, vpc, subnets)
        nats = check_nat_gateways(self, vpc, where, addresses)
        if vpc.instances or default_instances:
            checker = InstanceChecker(self, addresses, policies.groups, roles, self._netns)
            for j, instance in enumerate(vpc.instances):
                checker.check(instance, (*where, "instances", j))
            for j, instance in enumerate(default_instances):
                checker.check(instance, ("instances", j))
        if any(table.routes for table in vpc.route_tables):
            around = self._surroundings(vpc, default_instances, blocks, blocks6, subnets, policies, nats)
            check_routes(self, vpc, where, around)
        check_endpoints(self, vpc, where, tables)
        if vpc.interface_endpoints or vpc.endpoint_services:
            known = Around(
                subnets={**subnets.by_name} if subnets.all_named else None,
                groups=policies.groups,
                instances={instance.name for instance in (*vpc.instances, *default_instances)},
            )
            check_interface_endpoints(self, vpc, where, known)
            check_endpoint_services(self, vpc, where, known)
        check_gateways(self, vpc, where)
        check_virtual_interfaces(self, vpc, where, blocks)
        check_flow_logs(self, vpc, where, default_instances)

    def _surroundings(
        self,
        vpc: VpcDecl,
        default_instances: Sequence[InstanceDecl],
        blocks: list[Prefix] | None,
        blocks6: list[Prefix] | None,
        subnets: Subnets,
        policies: Policies,
        nats: set[str] | None,
    ) -> Surroundings:
        found = [*subnets.v4.values(), *subnets.v6.values()]
        own6 = [subnet for subnet in vpc.subnets if subnet.ipv6_cidr and provided_number(subnet.ipv6_cidr) is None]
        all_sound = len(found) == len(vpc.subnets) + len(own6)
        names = {instance.name for instance in (*vpc.instances, *default_instances)}
        return Surroundings(
            ranges=[*blocks, *blocks6] if blocks is not None and blocks6 is not None else None,
            subnets=found if all_sound else None,
            lists=policies.lists,
            peerings={peering.name: _alias_of(peering) for peering in vpc.peerings},
            gateways=declared_gateways(vpc).keys(),
            nats=nats,
            instances=None if any(map(self.names.__getitem__, names)) else names,
        )

    def _blocks(
        self, cidrs: list[str], memo: Memo[Prefix | Violation], where: Where, field: str, word: str = ""
    ) -> list[Prefix] | None:
        """Check a VPC's CIDRs of one IP version. Return them, or None if an invalid one makes the VPC's ranges unknown.

        `word` is the placeholder for a CIDR that is not known yet.
        """
        if len(cidrs) > rules.MAX_CIDRS:
            violation = Violation(f"the VPC has {len(cidrs)} CIDRs", f"keep at most {rules.MAX_CIDRS}, or make a second VPC")
            self.add(violation, where, (field,))
        blocks: dict[int, Prefix] = {}
        own = {k: text for k, text in enumerate(cidrs) if text != word}
        for k, text in own.items():
            prefix = memo[text]
            if isinstance(prefix, Violation):
                self.add(prefix, where, (field, k))
            else:
                blocks[k] = prefix
        if len(blocks) < len(own):
            return None
        if len(blocks) > 1:
            self._overlaps(blocks, where, field, "")
        return list(blocks.values())

    def _overlaps(self, prefixes: dict[int, Prefix], where: Where, field: str, member: str) -> None:
        for a, b in first_overlaps(zip(prefixes.values(), prefixes, strict=True)):
            first, second = min(a, b), max(a, b)
            violation = Violation(
                f"{prefixes[second]} overlaps {prefixes[first]} of {field}[{first}]", "choose a range that is free"
            )
            self.add(violation, where, (field, second, member) if member else (field, second))

    def _subnets(self, vpc: VpcDecl, where: Where, blocks: list[Prefix] | None, blocks6: list[Prefix] | None) -> Subnets:
        subnets = Subnets()
        names, v4 = subnets.by_name, subnets.v4
        for j, subnet in enumerate(vpc.subnets):
            if violation := self.names[subnet.name]:
                self.add(violation, where, ("subnets", j, "name"))
                subnets.all_named = False
            elif (other := names.setdefault(subnet.name, j)) != j:
                violation = Violation(f"{shown(subnet.name)} is also the name of subnets[{other}]", "rename one")
                self.add(violation, where, ("subnets", j, "name"))
            prefix = self._cidrs[subnet.cidr]
            if isinstance(prefix, Violation):
                self.add(prefix, where, ("subnets", j, "cidr"))
            else:
                v4[j] = prefix
                if blocks is not None and not _inside(prefix, blocks):
                    self.add(_outside(prefix, blocks, "CIDRs"), where, ("subnets", j, "cidr"))
            number = provided_number(subnet.ipv6_cidr)
            if number is not None:
                check_provided_subnet(self, vpc, number, (*where, "subnets", j), j, subnets)
            elif subnet.ipv6_cidr:
                self._subnet_ipv6(vpc, subnet.ipv6_cidr, (*where, "subnets", j), blocks6, j, subnets)
            if subnet.tags:
                self.tags(subnet.tags, (*where, "subnets", j))
        if len(v4) > 1:
            self._overlaps(v4, where, "subnets", "cidr")
        if len(subnets.v6) > 1:
            self._overlaps(subnets.v6, where, "subnets", "ipv6_cidr")
        return subnets

    def _subnet_references(self, vpc: VpcDecl, where: Where, tables: Names | None, policies: Policies) -> None:
        for j, subnet in enumerate(vpc.subnets):
            if subnet.route_table and tables is not None and subnet.route_table not in tables:
                violation = no_such("route table", subnet.route_table, tables, "route_tables")
                self.add(violation, where, ("subnets", j, "route_table"))
            if subnet.network_acl and policies.acls is not None and subnet.network_acl not in policies.acls:
                violation = no_such("network ACL", subnet.network_acl, policies.acls, "network_acls")
                self.add(violation, where, ("subnets", j, "network_acl"))

    def _subnet_ipv6(
        self, vpc: VpcDecl, text: str, where: Where, blocks6: list[Prefix] | None, index: int, subnets: Subnets
    ) -> None:
        prefix = self._cidrs6[text]
        if isinstance(prefix, Violation):
            self.add(prefix, where, ("ipv6_cidr",))
            return
        subnets.v6[index] = prefix
        if blocks6 == []:
            self.add(no_own_range(vpc, text), where, ("ipv6_cidr",))
        elif blocks6 is not None and not _inside(prefix, blocks6):
            self.add(_outside(prefix, blocks6, "IPv6 CIDRs"), where, ("ipv6_cidr",))


def _alias_of(peering: PeeringDecl) -> str:
    """Return the other VPC's alias of a mapped connection; empty if the connection is not mapped or its ranges are invalid."""
    ranges = read_ranges(peering.map_peer) if peering.map_peer else ("", "")
    return "" if isinstance(ranges, Violation) else ranges[1]


def _inside(prefix: Prefix, blocks: Sequence[Prefix]) -> bool:
    for block in blocks:  # noqa: SIM110 - any() with a generator takes twice as long, and this runs for every subnet
        if block.contains(prefix):
            return True
    return False


def _outside(prefix: Prefix, blocks: Sequence[Prefix], noun: str) -> Violation:
    return Violation(f"{prefix} is outside the VPC's {noun}", f"choose a range inside {' or '.join(map(str, blocks))}")
