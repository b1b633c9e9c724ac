"""Security groups, network ACLs and prefix lists, as stored below `vpc/<vni>/`. A group's or ACL's rules stand in its own record.

A protocol is its number (IANA), or -1 for all. What `from_port` and `to_port` mean depends on it, as in EC2:

    tcp, udp       a range of ports, 0 to 65535
    icmp, icmpv6   type and code, each -1 for any; a code needs a type
    all others     nothing: both are -1
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

from netorch.model.record import Part, Record
from netorch.model.vpc import Tags

ALL_PROTOCOLS: Final = -1
ICMP, TCP, UDP, AH, ICMPV6, SCTP = 1, 6, 17, 51, 58, 132  # Source: IANA protocol numbers
ANY: Final = -1  # type or code of ICMP
PORT_LAST: Final = 65535
DEFAULT_NAME: Final = "default"  # of the group and the ACL that come with a VPC
DEFAULT_DESCRIPTION: Final = "default VPC security group"  # EC2's
ACL_NUMBER_LAST: Final = 32766  # EC2 shows its last rule, which denies everything, as 32767 or *
DEFAULT_ACL_NUMBER: Final = 100  # of the one rule, each direction and IP version, that a default ACL begins with


class Direction(Enum):
    """Which of a group's or ACL's two lists of rules: each value is the name of its field."""

    INGRESS = "ingress"
    EGRESS = "egress"

    @property
    def other(self) -> Direction:
        """Return the opposite direction."""
        return Direction.INGRESS if self is Direction.EGRESS else Direction.EGRESS


class SecurityGroupRule(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One permission. The other end is exactly one of `cidr` (IPv4 or IPv6), `group` and `prefix_list`."""

    id: str  # sgr-...
    protocol: int
    from_port: int = -1
    to_port: int = -1
    cidr: str = ""
    group: str = ""  # sg-...: the private addresses of its members
    prefix_list: str = ""  # pl-...
    description: str = ""

    @property
    def peer(self) -> str:
        """Return the other end, whichever it is."""
        return self.cidr or self.group or self.prefix_list


class SecurityGroup(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A stateful firewall of the interfaces that name it: what no rule of any of an interface's groups permits is refused."""

    id: str
    vni: int
    name: str
    description: str = ""
    ingress: tuple[SecurityGroupRule, ...] = ()
    egress: tuple[SecurityGroupRule, ...] = ()
    # How often tracked flows were ended that the rules no longer permit; a change is what tells the agents to end them.
    terminations: int = 0
    tags: Tags = {}

    @property
    def is_default(self) -> bool:
        """Return whether it came with the VPC, and cannot be deleted."""
        return self.name == DEFAULT_NAME


class AclEntry(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a network ACL; of those that match a packet the one with the lowest number decides."""

    number: int  # 1 to 32766, unique in its direction
    allow: bool
    protocol: int
    cidr: str  # IPv4 or IPv6: of the source for ingress, of the destination for egress
    from_port: int = -1
    to_port: int = -1


class NetworkAcl(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A stateless filter at the border of the subnets that name it. What no entry matches is denied."""

    id: str
    vni: int
    name: str
    ingress: tuple[AclEntry, ...] = ()  # by number
    egress: tuple[AclEntry, ...] = ()
    tags: Tags = {}

    @property
    def is_default(self) -> bool:
        """Return whether it came with the VPC: subnets that name no ACL use it, and it cannot be deleted."""
        return self.name == DEFAULT_NAME


class PrefixListEntry(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One CIDR of a prefix list."""

    cidr: str
    description: str = ""


class PrefixList(Record, frozen=True, kw_only=True, omit_defaults=True):
    """CIDRs of one IP version under one name. In rule quotas it counts as `max_entries` rules.

    One that has the prefixes of a gateway service is the operator's, as EC2's AWS-managed ones are: customers use it, and do not
    change it. Schema 2 added that.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    name: str
    version: int  # 4 or 6
    max_entries: int
    entries: tuple[PrefixListEntry, ...] = ()
    service: str = ""  # the name of a GatewayService
    tags: Tags = {}


def default_group_id(vpc_id: str) -> str:
    """Return the id of the group that comes with a VPC; it shares the VPC's random part, so that nobody needs to search."""
    return f"sg-{vpc_id[-17:]}"


def default_acl_id(vpc_id: str) -> str:
    """Return the id of the ACL that comes with a VPC."""
    return f"acl-{vpc_id[-17:]}"


def default_group(group_id: str, vni: int, rule_ids: tuple[str, str, str]) -> SecurityGroup:
    """Return the group that comes with a VPC: its members reach each other, and it lets everything out."""
    within, *out = rule_ids
    return SecurityGroup(
        id=group_id,
        vni=vni,
        name=DEFAULT_NAME,
        description=DEFAULT_DESCRIPTION,
        ingress=(SecurityGroupRule(id=within, protocol=ALL_PROTOCOLS, group=group_id),),
        egress=all_outbound((out[0], out[1])),
    )


def all_outbound(rule_ids: tuple[str, str]) -> tuple[SecurityGroupRule, SecurityGroupRule]:
    """Return the outbound rules that every new group begins with."""
    out4, out6 = rule_ids
    return (
        SecurityGroupRule(id=out4, protocol=ALL_PROTOCOLS, cidr="0.0.0.0/0"),
        SecurityGroupRule(id=out6, protocol=ALL_PROTOCOLS, cidr="::/0"),
    )


def default_acl(acl_id: str, vni: int) -> NetworkAcl:
    """Return the ACL that comes with a VPC: it allows everything, both ways."""
    entries = (
        AclEntry(number=DEFAULT_ACL_NUMBER, allow=True, protocol=ALL_PROTOCOLS, cidr="0.0.0.0/0"),
        AclEntry(number=DEFAULT_ACL_NUMBER + 1, allow=True, protocol=ALL_PROTOCOLS, cidr="::/0"),
    )
    return NetworkAcl(id=acl_id, vni=vni, name=DEFAULT_NAME, ingress=entries, egress=entries)


def referred(group: SecurityGroup) -> set[str]:
    """Return the ids of the groups and prefix lists that a group's rules refer to."""
    return {rule.group or rule.prefix_list for rule in (*group.ingress, *group.egress)} - {""}
