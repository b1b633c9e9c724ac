"""A VPC's chains, sets and maps in every form that a policy can take, for kernel tests."""

from __future__ import annotations

from collections.abc import Mapping

from netorch.model.security import Direction
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.nft import ChainSet, NftChain, NftElement, NftMap
from policy.borders import TRACKED

VNI = 5000
IDENTITY, OTHER_IDENTITY = 0xBEEF, 0x10
EGRESS, INGRESS = "egress-001388-0000beef", "ingress-001388-0000beef"
ACL = "acl-001388-00000000001-egress"
BORDER = "border-001388-00000000001-0000beef-egress"

_SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "free4": ("inet_service . inet_proto", ("0-65535 . 17", "80-443 . 6")),
    "free6": ("inet_service . inet_proto", ("80 . 6",)),
    "icmp4": ("ipv4_addr . icmp_type . icmp_code", ("10.0.0.0/30 . 3 . 4", "10.0.0.0/8 . 8 . 0-255")),
    "icmp6": ("ipv6_addr . icmpv6_type . icmpv6_code", ("2001:db8::/32 . 128 . 0", "::1 . 0-255 . 0-255")),
    "net4": ("ipv4_addr . inet_proto", ("0.0.0.0/1 . 50-51", "10.1.0.0-10.1.2.255 . 0-255", "10.5.0.0/16 . 47")),
    "net6": ("ipv6_addr . inet_proto", ("2001:db8::-2001:db8::5 . 132", "::/0 . 1-57")),
    "peer_icmp4": ("mark . icmp_type . icmp_code", ("0x10 . 3 . 4", "0xbeef . 8 . 0-255")),
    "peer_icmp6": ("mark . icmpv6_type . icmpv6_code", ("0xbeef . 128 . 0",)),
    "peer_net": ("mark . inet_proto", ("0x10 . 47", "0xbeef . 0-255")),
    "peer_port": ("mark . inet_service . inet_proto", ("0x10 . 22 . 6", "0xdeadbeef . 0-65535 . 17")),
    "port4": ("ipv4_addr . inet_service . inet_proto", ("0.0.0.0/0 . 53 . 17", "10.0.0.0/8 . 80-443 . 6", "10.0.0.1 . 22 . 6")),
    "port6": ("ipv6_addr . inet_service . inet_proto", ("2001:db8::/32 . 80-443 . 6", "::-2001::5 . 0-65535 . 17")),
}

MAPS = (
    NftMap(vni=VNI, name="identity-001388.4", spec="type ipv4_addr : mark"),
    NftMap(vni=VNI, name="identity-001388.6", spec="type ipv6_addr : mark"),
)


def element(holder: str, *items: str, value: str = "") -> NftElement:
    """Return an element of a set or map in the overlay's inet table."""
    return NftElement(netns=OVERLAY, family="inet", set=holder, items=items, vni=VNI, value=value)


def chain_sets(chain: str, *names: str) -> tuple[ChainSet, ...]:
    """Return the named sets of a chain, or all."""
    return sets_of(chain, {name: _SETS[name] for name in _SETS if not names or name in names})


def sets_of(chain: str, sets: Mapping[str, tuple[str, tuple[str, ...]]]) -> tuple[ChainSet, ...]:
    """Return a chain's interval sets: by name suffix, the types of their keys, and their elements."""
    return tuple(
        ChainSet(name=f"{chain}.{name}", spec=f"type {spec}; flags interval", elements=elements)
        for name, (spec, elements) in sorted(sets.items())
    )


def policy_chain(name: str, way: str, end: Direction, free: str, passed: str, refuses: str) -> NftChain:
    """Return a chain that judges the packets a class sends (way daddr) or receives (saddr), with every form of rule."""
    rules = (
        f"ct mark 0x0 meta mark set 0x0 goto {passed}",
        *(f"{match} {free}" for match in TRACKED[end]),
        f"meta nfproto ipv4 th dport . meta l4proto @{name}.free4 {free}",
        f"meta nfproto ipv6 th dport . meta l4proto @{name}.free6 {free}",
        f"meta nfproto ipv4 goto {passed}",
        f"meta nfproto ipv6 goto {passed}",
        f"ip {way} . th dport . meta l4proto @{name}.port4 goto {passed}",
        f"ip6 {way} . th dport . meta l4proto @{name}.port6 goto {passed}",
        f"ip {way} . meta l4proto @{name}.net4 goto {passed}",
        f"ip6 {way} . meta l4proto @{name}.net6 goto {passed}",
        f"ip {way} . icmp type . icmp code @{name}.icmp4 goto {passed}",
        f"ip6 {way} . icmpv6 type . icmpv6 code @{name}.icmp6 goto {passed}",
        f"meta mark set ip {way} map @identity-001388.4",
        f"meta mark set ip6 {way} map @identity-001388.6",
        f"meta mark . th dport . meta l4proto @{name}.peer_port goto {passed}",
        f"meta mark . meta l4proto @{name}.peer_net goto {passed}",
        f"meta mark . icmp type . icmp code @{name}.peer_icmp4 goto {passed}",
        f"meta mark . icmpv6 type . icmpv6 code @{name}.peer_icmp6 goto {passed}",
        f"goto {refuses}",
    )
    return NftChain(vni=VNI, name=name, rules=rules, sets=chain_sets(name))


EGRESS_CHAIN = policy_chain(EGRESS, "daddr", Direction.EGRESS, "jump known_egress", "sent", "drop_sg_egress")
INGRESS_CHAIN = policy_chain(INGRESS, "saddr", Direction.INGRESS, "jump known_ingress", "received", "drop_sg_ingress")
ACL_CHAIN = NftChain(
    vni=VNI,
    name=ACL,
    rules=(
        f"ip daddr . th dport . meta l4proto @{ACL}.port4 return",
        f"ip6 daddr . meta l4proto @{ACL}.net6 return",
        "goto drop_acl_egress",
    ),
    sets=chain_sets(ACL, "net6", "port4"),
)
BORDER_CHAIN = NftChain(
    vni=VNI,
    name=BORDER,
    rules=(f"ip daddr != 10.0.0.0/24 jump {ACL}", f"ip6 daddr != 2001:db8::/64 jump {ACL}", f"goto {EGRESS}"),
)
CHAINS = (ACL_CHAIN, EGRESS_CHAIN, INGRESS_CHAIN, BORDER_CHAIN)


def verdicts(port: str) -> tuple[NftElement, ...]:
    """Return the map elements that send a port's packets to the VPC's chains."""
    return (
        element("egress_policy", port, value=f"jump {BORDER}"),
        element("ingress_policy", port, value=f"goto {INGRESS}"),
    )


PEERS = (
    element("identity-001388.4", "10.0.0.11", value="0xbeef"),
    element("identity-001388.4", "10.0.0.12", value="0x10"),
    element("identity-001388.6", "2001:db8::11", value="0xbeef"),
)
POLICY: tuple[KernelObject, ...] = (*MAPS, *CHAINS, *PEERS)
