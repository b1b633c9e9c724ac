"""Random VPCs with rules, and packets at the borders of the rules: for the oracle, the walk and real packets alike."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import strategies as st

from netorch.compiler.base import HostView, LocalEni, Middlebox, VpcView
from netorch.model.eni import Attachment, Host, Instance, NetworkInterface
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.packet import Packet
from netorch.model.security import (
    ALL_PROTOCOLS,
    ICMP,
    ICMPV6,
    PORT_LAST,
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
from netorch.model.vpc import Subnet, Vpc
from policy.evaluate import Policy
from tests.views import make_view

VNI = 5000
HOSTS = {"hv1": "192.0.2.11", "hv2": "192.0.2.12"}
ZONE = 7  # of the VPC, on each host
CIDRS = (("10.0.0.0/24", "2001:db8::/64"), ("10.0.1.0/24", "2001:db8:0:1::/64"))  # of the two subnets
GROUPS = tuple(make_id("sg", VNI, number) for number in range(1, 4))
LISTS = tuple(make_id("pl", VNI, number) for number in range(1, 3))
PORTS = (0, 1, 22, 23, 443, 1023, 1024, 40000, 65534, PORT_LAST)
TYPES = (0, 3, 8, 13, 128, 129)
# Protocols that rules know by number alone: tunnels, encryption, some that connection tracking knows more about.
OTHERS = (0, 2, 4, 41, 47, 50, 51, 89, 112, 132, 136, 255)
PEERS4 = ("0.0.0.0/0", "10.0.0.0/16", "10.0.0.0/23", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.4/30", "10.0.0.5/32", "10.0.1.6/32")
PEERS6 = ("::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8::4/126", "2001:db8:0:1::6/128")


class PolicyCase(msgspec.Struct, frozen=True, kw_only=True):
    """A VPC whose interfaces are on hosts."""

    policy: Policy
    homes: dict[str, str]  # interface -> host

    def home_of_address(self) -> dict[str, str]:
        """Return the host of every address."""
        return {address: self.homes[eni.id] for eni in self.policy.interfaces for address in eni.addresses}

    @property
    def vni(self) -> int:
        """Return the VPC's network identifier."""
        return self.policy.subnets[0].vni

    def mappings(self) -> Iterator[Mapping]:
        """Yield the mapping of every address."""
        for eni in self.policy.interfaces:
            host = self.homes[eni.id]
            for address in eni.addresses:
                yield Mapping(
                    vni=self.vni, address=address, eni=eni.id, mac=eni.mac, host=host, vtep=HOSTS[host], groups=eni.groups
                )

    def view(self, host: str) -> VpcView:
        """Return the view that the compilers of a host get."""
        policy = self.policy
        subnets = {subnet.id: subnet for subnet in policy.subnets}
        local = tuple(
            LocalEni(eni=eni, subnet=subnets[eni.subnet], instance=_instance(eni))
            for eni in policy.interfaces
            if self.homes[eni.id] == host
        )
        return make_view(
            HostView(host=Host(name=host, underlay=HOSTS[host]), underlay_ifname="eth0", underlay_mtu=1500),
            Vpc(
                id=make_id("vpc", self.vni, 1),
                vni=self.vni,
                owner="o",
                name="v",
                cidrs=("10.0.0.0/16",),
                ipv6_cidrs=("2001:db8::/56",),
            ),
            subnets=policy.subnets,
            local=local,
            zone=ZONE,
            groups=policy.groups,
            acls=policy.acls,
            prefix_lists=policy.prefix_lists,
            identities=[eni.groups for eni in policy.interfaces],
            middleboxes=self._middleboxes(),
        )

    def _middleboxes(self) -> Iterator[Middlebox]:
        """Yield the interfaces without source/destination check; no route leads to them."""
        mappings = {mapping.address: mapping for mapping in self.mappings()}
        for eni in self.policy.interfaces:
            if not eni.source_dest_check:
                yield Middlebox(eni=eni, mapping=mappings[eni.address])


def _instance(eni: NetworkInterface) -> Instance:
    return Instance(id=f"i-{eni.id[-17:]}", vni=eni.vni, name=f"n{eni.id[-6]}", attachment=Attachment.NETNS)


@st.composite
def services(draw: st.DrawFn, version: int) -> tuple[int, int, int]:
    """A protocol with the ports or types that a rule may give for it."""
    others = draw(st.sampled_from(OTHERS))
    protocol = draw(st.sampled_from((ALL_PROTOCOLS, TCP, TCP, UDP, ICMP if version == 4 else ICMPV6, others)))
    if protocol in (TCP, UDP):
        first, last = sorted((draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))))
        return (protocol, 0, PORT_LAST) if draw(st.booleans()) else (protocol, first, last)
    if protocol in (ICMP, ICMPV6):
        kind = draw(st.sampled_from((-1, *TYPES)))
        return protocol, kind, draw(st.sampled_from((-1, 0, 1))) if kind >= 0 else -1
    return protocol, -1, -1


@st.composite
def rules(draw: st.DrawFn, number: int) -> SecurityGroupRule:
    """A rule to or from a CIDR, a group or a prefix list."""
    kind = draw(st.sampled_from(("cidr", "cidr", "group", "prefix_list")))
    choices = {"cidr": PEERS4 + PEERS6, "group": GROUPS, "prefix_list": LISTS}[kind]
    peer = draw(st.sampled_from(choices))
    version = 6 if ":" in peer else 4 if kind == "cidr" else draw(st.sampled_from((4, 6)))
    protocol, first, last = draw(services(version))
    return SecurityGroupRule(id=make_id("sgr", VNI, number), protocol=protocol, from_port=first, to_port=last, **{kind: peer})


def anything(number: int, vni: int = VNI) -> tuple[SecurityGroupRule, ...]:
    return tuple(
        SecurityGroupRule(id=make_id("sgr", vni, number + n), protocol=ALL_PROTOCOLS, cidr=cidr)
        for n, cidr in enumerate(("0.0.0.0/0", "::/0"))
    )


@st.composite
def groups(draw: st.DrawFn) -> tuple[SecurityGroup, ...]:
    """Three groups; in each direction a few rules, or one that allows everything, so that drops elsewhere show."""
    found = []
    for index, name in enumerate(GROUPS):
        ingress, egress = (
            anything(100 * index + 50 * side)
            if draw(st.booleans())
            else tuple(draw(rules(100 * index + 50 * side + n)) for n in range(draw(st.integers(0, 4))))
            for side in (0, 1)
        )
        found.append(SecurityGroup(id=name, vni=VNI, name=f"g{index}", ingress=ingress, egress=egress))
    return tuple(found)


@st.composite
def entries(draw: st.DrawFn) -> tuple[AclEntry, ...]:
    """The entries of one direction of an ACL."""
    found = []
    for number in range(draw(st.integers(0, 4))):
        cidr = draw(st.sampled_from(PEERS4 + PEERS6))
        protocol, first, last = draw(services(6 if ":" in cidr else 4))
        allow = draw(st.booleans())
        found.append(AclEntry(number=10 * number + 10, allow=allow, protocol=protocol, cidr=cidr, from_port=first, to_port=last))
    words = (
        AclEntry(number=900 + n, allow=True, protocol=ALL_PROTOCOLS, cidr=cidr) for n, cidr in enumerate(("0.0.0.0/0", "::/0"))
    )
    return (*found, *(words if draw(st.sampled_from((True, True, False))) else ()))


@st.composite
def policies(draw: st.DrawFn, fewest: int = 3) -> Policy:
    """A VPC of two subnets and up to five interfaces, in any mixture of three groups."""
    named = NetworkAcl(id=make_id("acl", VNI, 2), vni=VNI, name="strict", ingress=draw(entries()), egress=draw(entries()))
    acl = st.sampled_from(("", named.id))
    subnets = subnets_of(VNI, draw(acl), draw(acl))
    lists = []
    for name, version in zip(LISTS, (4, 6), strict=True):
        cidrs = draw(st.lists(st.sampled_from(PEERS4 if version == 4 else PEERS6), unique=True, max_size=3))
        listed = tuple(PrefixListEntry(cidr=cidr) for cidr in cidrs)
        lists.append(PrefixList(id=name, vni=VNI, name=name[-1], version=version, max_entries=5, entries=listed))
    count, checked = draw(st.integers(fewest, 5)), st.sampled_from((True, True, False))
    interfaces = tuple(interface_at(place, draw(memberships()), checked=draw(checked)) for place in range(count))
    return Policy(
        subnets=subnets,
        interfaces=interfaces,
        groups=draw(groups()),
        acls=(default_acl(make_id("acl", VNI, 1), VNI), named),
        prefix_lists=tuple(lists),
    )


def subnets_of(vni: int, front_acl: str = "", back_acl: str = "") -> tuple[Subnet, Subnet]:
    """Return the two subnets, with these ACLs."""
    front, back = (
        Subnet(id=make_id("subnet", vni, number), vni=vni, name=str(number), cidr=cidr, ipv6_cidr=ipv6, acl=acl)
        for (number, (cidr, ipv6)), acl in zip(enumerate(CIDRS, 1), (front_acl, back_acl), strict=True)
    )
    return front, back


@st.composite
def memberships(draw: st.DrawFn) -> tuple[str, ...]:
    """The groups of one interface; rarely none."""
    return tuple(sorted(draw(st.sets(st.sampled_from(GROUPS), min_size=draw(st.sampled_from((0, 1, 1, 1))), max_size=2))))


def interface_at(place: int, groups: tuple[str, ...], vni: int = VNI, *, checked: bool = True) -> NetworkInterface:
    """Return an interface whose address depends only on its place; even places are in the first subnet."""
    network, network6 = (("10.0.0.", "2001:db8::"), ("10.0.1.", "2001:db8:0:1::"))[place % 2]
    return NetworkInterface(
        id=make_id("eni", vni, place + 1 << 16),
        vni=vni,
        subnet=make_id("subnet", vni, place % 2 + 1),
        mac=f"06:00:00:00:00:{place + 1:02x}",
        address=f"{network}{place + 4}",
        ipv6_address=f"{network6}{place + 4:x}",
        instance=make_id("i", vni, place + 1 << 16),
        groups=groups,
        source_dest_check=checked,
    )


@st.composite
def cases(draw: st.DrawFn, fewest: int = 3) -> PolicyCase:
    """A VPC on two hosts."""
    policy = draw(policies(fewest))
    return PolicyCase(policy=policy, homes={eni.id: draw(st.sampled_from(sorted(HOSTS))) for eni in policy.interfaces})


@st.composite
def packets(draw: st.DrawFn, policy: Policy) -> Packet:
    """A packet that may begin a connection between two interfaces, at the borders of the rules."""
    sender, receiver = draw(st.permutations(policy.interfaces))[:2]
    version = draw(st.sampled_from((4, 6)))
    source, destination = ((eni.address if version == 4 else eni.ipv6_address) for eni in (sender, receiver))
    others = draw(st.sampled_from(OTHERS))
    protocol = draw(st.sampled_from((TCP, TCP, UDP, ICMP if version == 4 else ICMPV6, others, others)))
    if protocol in (TCP, UDP):
        port = draw(st.sampled_from(PORTS))
        source_port = draw(st.sampled_from((1024, 40000, PORT_LAST)))
        return Packet(source=source, destination=destination, protocol=protocol, source_port=source_port, destination_port=port)
    if protocol in (ICMP, ICMPV6):
        kind = draw(st.sampled_from((8, 13) if version == 4 else (128,)))
        code = draw(st.sampled_from((0, 1)))
        return Packet(source=source, destination=destination, protocol=protocol, icmp_type=kind, icmp_code=code)
    return Packet(source=source, destination=destination, protocol=protocol)
