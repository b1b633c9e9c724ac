"""EC2's semantics of rules: which packets pass, and which stage drops the others. The test oracle for compiled chains.

This module does not use nftables. It is as short and as slow as the rules' definition: every packet is compared with every
rule.

A packet passes four stages in this order; the first that drops it ends the evaluation:

  the sender's ACL        egress, when the packet leaves the sender's subnet; every packet, including answers
  the sender's groups     egress
  the receiver's ACL      ingress, when the packet enters the receiver's subnet
  the receiver's groups   ingress

Without source/destination check an interface may send from other addresses. A packet is inside a subnet if both interfaces are
in it, and the address that an ACL looks at, too. If an interface of another subnet sends from an address of the receiver's
subnet, the sender's host evaluates the receiver's ACL right after the sender's: the receiver's host sees only addresses.

A side's groups let a packet pass for one of three reasons:

  tracked      it belongs to a connection that this side tracks, whatever the rules are now
  untracked    an untracked rule permits it, whatever connection it belongs to; see `is_untracked`
  permitted    a rule permits it, and it opens a connection or belongs to a known one; a new one is tracked from now on

Only attached interfaces count: a rule that refers to a group matches their addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

import msgspec

from netorch.model.addr import Prefix, parse_ip, parse_prefix
from netorch.model.eni import NetworkInterface
from netorch.model.packet import Packet
from netorch.model.security import (
    ALL_PROTOCOLS,
    ANY,
    PORT_LAST,
    TCP,
    UDP,
    AclEntry,
    Direction,
    NetworkAcl,
    PrefixList,
    SecurityGroup,
    SecurityGroupRule,
)
from netorch.model.vpc import Subnet

EVERYWHERE: Final = ("0.0.0.0/0", "::/0")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The records of one VPC that decide which traffic is permitted."""

    subnets: tuple[Subnet, ...]
    interfaces: tuple[NetworkInterface, ...]
    groups: tuple[SecurityGroup, ...]
    acls: tuple[NetworkAcl, ...]
    prefix_lists: tuple[PrefixList, ...] = ()

    def holder(self, address: str) -> NetworkInterface | None:
        """Return the interface that has an address."""
        return next((eni for eni in self.interfaces if address in eni.addresses), None)

    def subnet_of(self, eni: NetworkInterface) -> Subnet:
        """Return an interface's subnet."""
        return next(subnet for subnet in self.subnets if subnet.id == eni.subnet)

    def acl_of(self, subnet: Subnet) -> NetworkAcl:
        """Return a subnet's ACL: the one that it names, or the VPC's default."""
        return next(acl for acl in self.acls if acl.id == subnet.acl or (not subnet.acl and acl.is_default))


class Stage(Enum):
    """The stage that dropped a packet."""

    SENDER_ACL = "sender's ACL"
    SENDER_GROUPS = "sender's groups"
    RECEIVER_ACL = "receiver's ACL"
    RECEIVER_GROUPS = "receiver's groups"
    NOBODY_THERE = "nobody has the address"


class Standing(Enum):
    """The state of a packet's connection on one side."""

    NEW = "new"  # the packet opens a connection
    KNOWN = "known"  # the packet belongs to a connection, or is an ICMP error about one
    STRANGE = "strange"  # the packet belongs to no connection and cannot open one


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What one side remembers when a packet passes."""

    standing: Standing
    tracked: bool = False  # this side tracks the connection


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The fate of a packet.

    `decided_by` is the rule or the ACL entry that decided: an sgr- id, an entry's number, or `*` for an ACL's default. It is
    empty when no rule permits, or when the packet passed because its connection is tracked.
    """

    dropped_by: Stage | None = None
    at_sender: bool = False  # the packet was dropped on its sender's host
    decided_by: str = ""
    strange: bool = False  # a rule would permit the packet, but it belongs to no connection and cannot open one
    sender_tracks: bool = False  # from now on, because of this packet
    receiver_tracks: bool = False

    @property
    def passed(self) -> bool:
        """Return whether the packet arrived."""
        return self.dropped_by is None


def first_sight(packet: Packet) -> Memory:
    """Return the memory of a side that knows no connection yet."""
    return Memory(standing=Standing.NEW if packet.begins else Standing.STRANGE)


_ORDER: Final = (Stage.SENDER_ACL, Stage.SENDER_GROUPS, Stage.RECEIVER_ACL, Stage.RECEIVER_GROUPS)
_ORDER_OF_FOREIGN: Final = (Stage.SENDER_ACL, Stage.RECEIVER_ACL, Stage.SENDER_GROUPS, Stage.RECEIVER_GROUPS)


def verdict_on(
    policy: Policy,
    packet: Packet,
    *,
    sender: NetworkInterface | None = None,
    at_sender: Memory | None = None,
    at_receiver: Memory | None = None,
) -> Verdict:
    """Return the fate of a packet, given the memory of each side; by default nothing is remembered.

    The holder of the source address sends it, unless another `sender`, without source/destination check, sends from that
    address.
    """
    sender, receiver = sender or policy.holder(packet.source), policy.holder(packet.destination)
    if sender is None or receiver is None:
        return Verdict(dropped_by=Stage.NOBODY_THERE, at_sender=True)
    tracks = {Direction.EGRESS: False, Direction.INGRESS: False}
    foreign = sender.subnet != receiver.subnet and _is_in(policy.subnet_of(receiver), packet.source)
    for stage in _ORDER_OF_FOREIGN if foreign else _ORDER:
        at_egress = stage in (Stage.SENDER_ACL, Stage.SENDER_GROUPS)
        drop = Verdict(
            dropped_by=stage,
            at_sender=at_egress or (foreign and stage is Stage.RECEIVER_ACL),
            sender_tracks=tracks[Direction.EGRESS],
        )
        eni, other = (sender, receiver) if at_egress else (receiver, sender)
        direction, memory = (Direction.EGRESS, at_sender) if at_egress else (Direction.INGRESS, at_receiver)
        if stage in (Stage.SENDER_ACL, Stage.RECEIVER_ACL):
            allowed, entry = acl_decision(policy, eni, other, direction, packet)
            if not allowed:
                return msgspec.structs.replace(drop, decided_by=entry)
            continue
        remembered = memory or first_sight(packet)
        if remembered.tracked or is_untracked(policy, eni, direction, packet):
            continue
        rule = permitting_rule(policy, eni, direction, packet)
        if rule is None or remembered.standing is Standing.STRANGE:
            found = rule.id if rule is not None else ""
            return msgspec.structs.replace(drop, decided_by=found, strange=bool(found))
        tracks[direction] = remembered.standing is Standing.NEW
    return Verdict(sender_tracks=tracks[Direction.EGRESS], receiver_tracks=tracks[Direction.INGRESS])


# --- network ACLs ---------------------------------------------------------------------------------------------------------------


def acl_decision(
    policy: Policy, eni: NetworkInterface, other: NetworkInterface, direction: Direction, packet: Packet
) -> tuple[bool, str]:
    """Return whether an interface's ACL lets a packet to or from another interface pass, and the deciding entry."""
    subnet = policy.subnet_of(eni)
    peer = packet.destination if direction is Direction.EGRESS else packet.source
    if other.subnet == eni.subnet and _is_in(subnet, peer):
        return True, ""
    acl = policy.acl_of(subnet)
    entries = acl.egress if direction is Direction.EGRESS else acl.ingress
    for entry in sorted(entries, key=lambda entry: entry.number):
        if _inside(peer, entry.cidr) and _matches(entry, packet):
            return entry.allow, str(entry.number)
    return False, "*"


# --- security groups ------------------------------------------------------------------------------------------------------------


def rules_of(policy: Policy, eni: NetworkInterface, direction: Direction) -> Iterator[SecurityGroupRule]:
    """Yield the rules of all of an interface's groups in one direction."""
    for group in policy.groups:
        if group.id in eni.groups:
            yield from group.egress if direction is Direction.EGRESS else group.ingress


def permitting_rule(policy: Policy, eni: NetworkInterface, direction: Direction, packet: Packet) -> SecurityGroupRule | None:
    """Return a rule that permits a packet, or None."""
    peer = packet.destination if direction is Direction.EGRESS else packet.source
    for rule in rules_of(policy, eni, direction):
        if _matches(rule, packet) and _means(policy, rule, peer):
            return rule
    return None


def is_untracked(policy: Policy, eni: NetworkInterface, direction: Direction, packet: Packet) -> bool:
    """Return whether a packet passes whatever connection it belongs to.

    EC2 does not track a TCP or UDP flow that a rule permits for everywhere (0.0.0.0/0, or ::/0 for IPv6) when rules of the
    other direction permit every port to everywhere: any answer passes anyway. So the flow is untracked in both directions: the
    packet may be an answer of the flow. netorch cannot track packets with an IPv6 authentication header, which EC2 does.
    """
    if not packet.has_connection:
        return permitting_rule(policy, eni, direction, packet) is not None
    if packet.protocol not in (TCP, UDP):
        return False
    everywhere = EVERYWHERE[0] if packet.version == 4 else EVERYWHERE[1]
    here = [rule for rule in rules_of(policy, eni, direction) if everywhere in _cidrs(policy, rule)]
    back = [rule for rule in rules_of(policy, eni, direction.other) if everywhere in _cidrs(policy, rule)]
    asks = any(_matches(rule, packet) for rule in here) and _all_ports(back, packet.protocol)
    return asks or (any(_matches(rule, packet.answer()) for rule in back) and _all_ports(here, packet.protocol))


def _all_ports(rules: Iterable[SecurityGroupRule], protocol: int) -> bool:
    ranges = [
        (0, PORT_LAST) if rule.protocol == ALL_PROTOCOLS else (rule.from_port, rule.to_port)
        for rule in rules
        if rule.protocol in (ALL_PROTOCOLS, protocol)
    ]
    reached = -1
    for first, last in sorted(ranges):
        if first > reached + 1:
            break
        reached = max(reached, last)
    return reached == PORT_LAST


def _means(policy: Policy, rule: SecurityGroupRule, peer: str) -> bool:
    """Return whether a rule's other end is, or includes, an address."""
    if rule.group:
        holder = policy.holder(peer)
        return holder is not None and rule.group in holder.groups
    return any(_inside(peer, cidr) for cidr in _cidrs(policy, rule))


def _cidrs(policy: Policy, rule: SecurityGroupRule) -> list[str]:
    """Return the CIDRs of a rule, its own or those of its prefix list."""
    if rule.cidr:
        return [rule.cidr]
    return [entry.cidr for found in policy.prefix_lists if found.id == rule.prefix_list for entry in found.entries]


# --- common to both -------------------------------------------------------------------------------------------------------------


def _matches(rule: SecurityGroupRule | AclEntry, packet: Packet) -> bool:
    """Return whether a packet has a rule's protocol, and its ports, or its type and code."""
    if rule.protocol == ALL_PROTOCOLS:
        return True
    if rule.protocol != packet.protocol:
        return False
    if packet.has_ports:
        return rule.from_port <= packet.destination_port <= rule.to_port
    if packet.has_type:
        return rule.from_port in (ANY, packet.icmp_type) and rule.to_port in (ANY, packet.icmp_code)
    return rule.from_port == ANY and rule.to_port == ANY


def _is_in(subnet: Subnet, address: str) -> bool:
    return any(_inside(address, cidr) for cidr in (subnet.cidr, subnet.ipv6_cidr) if cidr)


def _inside(address: str, cidr: str) -> bool:
    prefix: Prefix = parse_prefix(cidr)
    return prefix.holds(*parse_ip(address))
