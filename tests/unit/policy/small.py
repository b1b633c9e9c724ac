"""A small VPC with short constructors for its records, for tests of the meaning of rules."""

from __future__ import annotations

from collections.abc import Iterable

from netorch.model.eni import NetworkInterface
from netorch.model.ids import make_id
from netorch.model.packet import SYN, Packet, echo
from netorch.model.security import (
    ALL_PROTOCOLS,
    TCP,
    UDP,
    AclEntry,
    NetworkAcl,
    PrefixList,
    PrefixListEntry,
    SecurityGroup,
    SecurityGroupRule,
    default_acl,
)
from netorch.model.vpc import Subnet
from policy.evaluate import Policy

VNI = 5000
A, B, C = "10.0.0.10", "10.0.0.20", "10.0.1.30"  # A and B are in one subnet, C is in another
A6, B6, C6 = "2001:db8::10", "2001:db8::20", "2001:db8:0:1::30"
ANYWHERE, ANYWHERE6 = "0.0.0.0/0", "::/0"
FRONT, BACK = make_id("subnet", VNI, 1), make_id("subnet", VNI, 2)
DEFAULT_ACL = default_acl(make_id("acl", VNI, 1), VNI)


def sg(number: int) -> str:
    """Return the id of a group."""
    return make_id("sg", VNI, number)


def rule(number: int, peer: str, protocol: int = ALL_PROTOCOLS, first: int = -1, last: int = -1) -> SecurityGroupRule:
    """Return a rule; its peer is a CIDR, a group's id or a prefix list's id."""
    kind = "group" if peer.startswith("sg-") else "prefix_list" if peer.startswith("pl-") else "cidr"
    return SecurityGroupRule(id=make_id("sgr", VNI, number), protocol=protocol, from_port=first, to_port=last, **{kind: peer})


def everything_out() -> tuple[SecurityGroupRule, ...]:
    """Return the egress rules of a new group."""
    return (rule(901, ANYWHERE), rule(902, ANYWHERE6))


def group(
    number: int, ingress: Iterable[SecurityGroupRule] = (), egress: Iterable[SecurityGroupRule] | None = None
) -> SecurityGroup:
    """Return a group that permits all egress by default."""
    out = everything_out() if egress is None else tuple(egress)
    return SecurityGroup(id=sg(number), vni=VNI, name=f"g{number}", ingress=tuple(ingress), egress=out)


def allow(number: int, cidr: str, protocol: int = ALL_PROTOCOLS, first: int = -1, last: int = -1) -> AclEntry:
    """Return an ACL entry that allows traffic."""
    return AclEntry(number=number, allow=True, protocol=protocol, cidr=cidr, from_port=first, to_port=last)


def deny(number: int, cidr: str, protocol: int = ALL_PROTOCOLS, first: int = -1, last: int = -1) -> AclEntry:
    """Return an ACL entry that denies traffic."""
    return AclEntry(number=number, allow=False, protocol=protocol, cidr=cidr, from_port=first, to_port=last)


def acl(number: int, ingress: Iterable[AclEntry] = (), egress: Iterable[AclEntry] = ()) -> NetworkAcl:
    """Return an ACL that is not the VPC's default."""
    return NetworkAcl(id=make_id("acl", VNI, number), vni=VNI, name=f"acl{number}", ingress=tuple(ingress), egress=tuple(egress))


def prefix_list(number: int, *cidrs: str) -> PrefixList:
    """Return a prefix list."""
    entries = tuple(PrefixListEntry(cidr=cidr) for cidr in cidrs)
    return PrefixList(id=make_id("pl", VNI, number), vni=VNI, name=f"pl{number}", version=4, max_entries=10, entries=entries)


def interface(number: int, subnet: str, address: str, ipv6: str, groups: Iterable[str]) -> NetworkInterface:
    """Return an attached interface."""
    return NetworkInterface(
        id=make_id("eni", VNI, number << 16),
        vni=VNI,
        subnet=subnet,
        mac=f"06:00:00:00:00:{number:02x}",
        address=address,
        ipv6_address=ipv6,
        instance=make_id("i", VNI, number << 16),
        groups=tuple(sorted(groups)),
    )


def vpc(
    *groups: SecurityGroup,
    a: Iterable[int] = (),
    b: Iterable[int] = (),
    c: Iterable[int] = (),
    acls: Iterable[NetworkAcl] = (),
    front_acl: str = "",
    back_acl: str = "",
    prefix_lists: Iterable[PrefixList] = (),
) -> Policy:
    """Return the records of three interfaces with these groups, by number."""
    return Policy(
        subnets=(
            Subnet(id=FRONT, vni=VNI, name="front", cidr="10.0.0.0/24", ipv6_cidr="2001:db8::/64", acl=front_acl),
            Subnet(id=BACK, vni=VNI, name="back", cidr="10.0.1.0/24", ipv6_cidr="2001:db8:0:1::/64", acl=back_acl),
        ),
        interfaces=(
            interface(1, FRONT, A, A6, map(sg, a)),
            interface(2, FRONT, B, B6, map(sg, b)),
            interface(3, BACK, C, C6, map(sg, c)),
        ),
        groups=groups,
        acls=(DEFAULT_ACL, *acls),
        prefix_lists=tuple(prefix_lists),
    )


def tcp(source: str, destination: str, port: int = 443, source_port: int = 40000, flags: int = SYN) -> Packet:
    """Return a TCP packet; by default, the first of a connection."""
    return Packet(
        source=source, destination=destination, protocol=TCP, source_port=source_port, destination_port=port, flags=flags
    )


def udp(source: str, destination: str, port: int = 53, source_port: int = 40000) -> Packet:
    """Return a datagram."""
    return Packet(source=source, destination=destination, protocol=UDP, source_port=source_port, destination_port=port)


def ping(source: str, destination: str) -> Packet:
    """Return an echo request."""
    return echo(source, destination)
