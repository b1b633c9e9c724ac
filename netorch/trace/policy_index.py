"""The records that decide about reachability, of one VPC or of peers, indexed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netorch.model.eni import NetworkInterface
from netorch.model.mapping import Reach
from netorch.model.security import AclEntry, Direction, NetworkAcl, PrefixList, SecurityGroup, SecurityGroupRule
from netorch.model.vpc import RouteTable, Subnet


class PolicyIndex:
    """Subnets, attached interfaces, groups, ACLs, prefix lists and route tables of one VPC, or of VPCs that are peers.

    An address that two peers of a VPC share has no holder, as in the kernel. `gateways` are the interfaces of NAT
    gateways: their subnets' ACLs apply to them, groups do not. `reaches` are the prefixes that edges reach through
    virtual private gateways.
    """

    def __init__(
        self,
        subnets: Iterable[Subnet],
        interfaces: Iterable[NetworkInterface],
        groups: Iterable[SecurityGroup],
        acls: Iterable[NetworkAcl],
        prefix_lists: Iterable[PrefixList],
        tables: Iterable[RouteTable] = (),
        gateways: Iterable[NetworkInterface] = (),
        reaches: Iterable[Reach] = (),
    ) -> None:
        self.subnets = {subnet.id: subnet for subnet in subnets}
        self.interfaces = {eni.id: eni for eni in interfaces}
        self.gateways = {eni.id: eni for eni in gateways}
        self.reaches = tuple(reaches)
        self.groups = {group.id: group for group in groups}
        self.acls = {acl.id: acl for acl in acls}
        self.prefix_lists = {found.id: found for found in prefix_lists}
        self._tables = {table.id: table for table in tables}
        self._main_tables = {table.vni: table for table in self._tables.values() if table.main}
        held = Counter(address for eni in self.interfaces.values() for address in eni.addresses)
        self.holders = {address: eni for eni in self.interfaces.values() for address in eni.addresses if held[address] == 1}
        self._default_acls = {acl.vni: acl.id for acl in self.acls.values() if acl.is_default}

    def acl_of(self, subnet_id: str) -> NetworkAcl:
        """Return a subnet's ACL: its own, or the VPC's default."""
        subnet = self.subnets[subnet_id]
        return self.acls[subnet.acl or self._default_acls[subnet.vni]]

    def table_of(self, subnet_id: str) -> RouteTable | None:
        """Return a subnet's route table: its own, or the VPC's main one; None if no tables are known."""
        subnet = self.subnets[subnet_id]
        return self._tables.get(subnet.route_table) or self._main_tables.get(subnet.vni)

    def groups_of(self, eni: NetworkInterface) -> list[SecurityGroup]:
        """Return an interface's groups."""
        return [self.groups[name] for name in eni.groups if name in self.groups]

    def cidrs_of(self, rule: SecurityGroupRule) -> tuple[str, ...]:
        """Return the CIDRs of a rule, its own or its prefix list's; none for a rule that refers to a group."""
        found = self.prefix_lists.get(rule.prefix_list)
        listed = (entry.cidr for entry in found.entries) if found is not None else ()
        return (rule.cidr,) if rule.cidr else tuple(listed)


def group_rules(group: SecurityGroup, direction: Direction) -> tuple[SecurityGroupRule, ...]:
    """Return a group's rules of one direction."""
    return group.egress if direction is Direction.EGRESS else group.ingress


def acl_entries(acl: NetworkAcl, direction: Direction) -> tuple[AclEntry, ...]:
    """Return an ACL's entries of one direction, in the order of evaluation."""
    return tuple(sorted(acl.egress if direction is Direction.EGRESS else acl.ingress, key=lambda entry: entry.number))
