"""Security groups, network ACLs and prefix lists, as stored below `vpc/<vni>/`. The record of a group or ACL contains its rules.

A protocol is its IANA number, or -1 for all. It determines the meaning of `from_port` and `to_port`, as in EC2:

    tcp, udp       a range of ports, 0 to 65535
    icmp, icmpv6   type and code, each -1 for any; a code needs a type
    all others     no meaning: both are -1
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
DEFAULT_NAME: Final = "default"  # the name of the group and the ACL created with a VPC
DEFAULT_DESCRIPTION: Final = "default VPC security group"  # EC2's
ACL_NUMBER_LAST: Final = 32766  # EC2 shows its last rule, which denies everything, as 32767 or *
DEFAULT_ACL_NUMBER: Final = 100  # of the IPv4 rule of each direction in a new default ACL; the IPv6 rule is the next number


class Direction(Enum):
    """One of the two rule lists of a group or ACL. Each value is the name of the list's field."""

    INGRESS = "ingress"
    EGRESS = "egress"

    @property
    def other(self) -> Direction:
        """Return the opposite direction."""
        return Direction.INGRESS if self is Direction.EGRESS else Direction.EGRESS


class SecurityGroupRule(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One permission. Its peer is exactly one of `cidr` (IPv4 or IPv6), `group` and `prefix_list`."""

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
        """Return the CIDR, group or prefix list of the rule."""
        return self.cidr or self.group or self.prefix_list


class SecurityGroup(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A stateful firewall of the interfaces in the group. Traffic that no rule of an interface's groups permits is dropped.

    Schema 2 left out what the key says.
    """

    SCHEMA: ClassVar[int] = 2
    KEYED: ClassVar[bool] = True

    id: str
    vni: int
    name: str
    description: str = ""
    ingress: tuple[SecurityGroupRule, ...] = ()
    egress: tuple[SecurityGroupRule, ...] = ()
    # The number of requests to end tracked flows that the rules no longer permit. When it changes, agents end these flows.
    terminations: int = 0
    tags: Tags = {}

    @property
    def is_default(self) -> bool:
        """Return whether this is the VPC's default group, which cannot be deleted."""
        return self.name == DEFAULT_NAME


class AclEntry(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a network ACL. Of the entries that match a packet, the one with the lowest number decides."""

    number: int  # 1 to 32766, unique per direction and ACL
    allow: bool
    protocol: int
    cidr: str  # IPv4 or IPv6: of the source for ingress, of the destination for egress
    from_port: int = -1
    to_port: int = -1


class NetworkAcl(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A stateless filter at the border of the subnets that refer to it. Packets that no entry matches are denied.

    Schema 2 left out what the key says.
    """

    SCHEMA: ClassVar[int] = 2
    KEYED: ClassVar[bool] = True

    id: str
    vni: int
    name: str
    ingress: tuple[AclEntry, ...] = ()  # sorted by number
    egress: tuple[AclEntry, ...] = ()
    tags: Tags = {}

    @property
    def is_default(self) -> bool:
        """Return whether this is the VPC's default ACL. Subnets without an ACL use it, and it cannot be deleted."""
        return self.name == DEFAULT_NAME


class PrefixListEntry(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One CIDR of a prefix list."""

    cidr: str
    description: str = ""


class PrefixList(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A named list of CIDRs of one IP version. It counts as `max_entries` rules in rule quotas.

    The list of a gateway service (`service`) belongs to the operator, like EC2's AWS-managed lists: customers can use it but not
    change it. Schema 2 added `service`.
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
    """Return the id of a VPC's default group. It shares the random part of the VPC's id, so no search is needed."""
    return f"sg-{vpc_id[-17:]}"


def default_acl_id(vpc_id: str) -> str:
    """Return the id of a VPC's default ACL."""
    return f"acl-{vpc_id[-17:]}"


def default_group(group_id: str, vni: int, rule_ids: tuple[str, str, str]) -> SecurityGroup:
    """Return a VPC's default group: it permits traffic between its members and all outbound traffic."""
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
    """Return the outbound rules of a new group."""
    out4, out6 = rule_ids
    return (
        SecurityGroupRule(id=out4, protocol=ALL_PROTOCOLS, cidr="0.0.0.0/0"),
        SecurityGroupRule(id=out6, protocol=ALL_PROTOCOLS, cidr="::/0"),
    )


def default_acl(acl_id: str, vni: int) -> NetworkAcl:
    """Return a VPC's default ACL: it allows all traffic in both directions."""
    entries = (
        AclEntry(number=DEFAULT_ACL_NUMBER, allow=True, protocol=ALL_PROTOCOLS, cidr="0.0.0.0/0"),
        AclEntry(number=DEFAULT_ACL_NUMBER + 1, allow=True, protocol=ALL_PROTOCOLS, cidr="::/0"),
    )
    return NetworkAcl(id=acl_id, vni=vni, name=DEFAULT_NAME, ingress=entries, egress=entries)


def referred(group: SecurityGroup) -> set[str]:
    """Return the ids of the groups and prefix lists that a group's rules refer to."""
    return {rule.group or rule.prefix_list for rule in (*group.ingress, *group.egress)} - {""}
