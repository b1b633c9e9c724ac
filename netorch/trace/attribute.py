"""The rule or entry that decides about a packet, found in the records. It gives a name to what a drop counter only counts."""

from __future__ import annotations

import msgspec

from netorch.model.addr import parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet
from netorch.model.security import AclEntry, Direction, NetworkAcl, SecurityGroup, SecurityGroupRule
from netorch.trace.policy_index import PolicyIndex, acl_entries, group_rules
from netorch.trace.services import holds, service, services_of


class GroupsSay(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of an interface's groups: the first rule that permits, with its group, or neither."""

    eni: NetworkInterface
    direction: Direction
    asked: tuple[SecurityGroup, ...]
    group: SecurityGroup | None = None
    rule: SecurityGroupRule | None = None


class AclSays(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of a subnet's ACL. No entry: the last one, `*`, decides. `acl` is None inside a subnet."""

    direction: Direction
    acl: NetworkAcl | None
    entry: AclEntry | None = None

    @property
    def allows(self) -> bool:
        """Return whether the packet passes."""
        return self.acl is None or (self.entry is not None and self.entry.allow)

    @property
    def number(self) -> str:
        """Return the deciding entry's number, as EC2 shows it."""
        return str(self.entry.number) if self.entry is not None else "*"


def ask_groups(index: PolicyIndex, eni: NetworkInterface, direction: Direction, packet: Packet) -> GroupsSay:
    """Return the verdict of the sender's groups (EGRESS) or the receiver's (INGRESS) on the first packet of a connection."""
    peer = packet.destination if direction is Direction.EGRESS else packet.source
    asked = tuple(index.groups_of(eni))
    for group in asked:
        for rule in group_rules(group, direction):
            if _is_about(rule, packet) and _includes(index, rule, peer):
                return GroupsSay(eni=eni, direction=direction, asked=asked, group=group, rule=rule)
    return GroupsSay(eni=eni, direction=direction, asked=asked)


def ask_acl(index: PolicyIndex, eni: NetworkInterface, direction: Direction, packet: Packet) -> AclSays:
    """Return the verdict of the ACL of the sender's subnet (EGRESS) or the receiver's (INGRESS) on a packet."""
    peer = packet.destination if direction is Direction.EGRESS else packet.source
    if _is_in(index, eni.subnet, peer):
        return AclSays(direction=direction, acl=None)
    return acl_says(index, eni.subnet, direction, packet)


def acl_says(index: PolicyIndex, subnet_id: str, direction: Direction, packet: Packet) -> AclSays:
    """Return the verdict of a subnet's ACL on a packet that crosses the subnet's border."""
    peer = packet.destination if direction is Direction.EGRESS else packet.source
    acl = index.acl_of(subnet_id)
    for entry in acl_entries(acl, direction):
        if _within(peer, entry.cidr) and _is_about(entry, packet):
            return AclSays(direction=direction, acl=acl, entry=entry)
    return AclSays(direction=direction, acl=acl)


def _is_in(index: PolicyIndex, subnet_id: str, address: str) -> bool:
    subnet = index.subnets[subnet_id]
    return any(_within(address, cidr) for cidr in (subnet.cidr, subnet.ipv6_cidr) if cidr)


def _is_about(rule: SecurityGroupRule | AclEntry, packet: Packet) -> bool:
    return holds(services_of(rule, packet.protocol, packet.version), service(packet))


def _includes(index: PolicyIndex, rule: SecurityGroupRule, peer: str) -> bool:
    holder = index.holders.get(peer)
    if rule.group:
        return holder is not None and rule.group in holder.groups
    return any(_within(peer, cidr) for cidr in index.cidrs_of(rule))


def _within(address: str, cidr: str) -> bool:
    return parse_prefix(cidr).holds(*parse_ip(address))
