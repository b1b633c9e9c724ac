"""A VPC's chains, sets and maps in every form that a policy takes, for tests of kernels."""

from __future__ import annotations

from netorch.state.base import KernelObject
from netorch.state.nft import ChainSet, NftChain, NftElement, NftMap, Scope

VNI = 5000
CLASS, OTHER_CLASS = 0xBEEF, 0x10
SEND, TAKE = "send-001388-0000beef", "take-001388-0000beef"
ACL = "acl-001388-00000000001-out"
BORDER = "border-001388-00000000001-0000beef-out"

_SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "free4": ("inet_proto . inet_service", ("17 . 0-65535", "6 . 80-443")),
    "free6": ("inet_proto . inet_service", ("6 . 80",)),
    "icmp4": ("icmp_type . icmp_code . ipv4_addr", ("3 . 4 . 10.0.0.0/30", "8 . 0-255 . 10.0.0.0/8")),
    "icmp6": ("icmpv6_type . icmpv6_code . ipv6_addr", ("0-255 . 0-255 . ::1", "128 . 0 . 2001:db8::/32")),
    "net4": ("inet_proto . ipv4_addr", ("0-255 . 10.1.0.0-10.1.2.255", "47 . 10.5.0.0/16", "50-51 . 0.0.0.0/1")),
    "net6": ("inet_proto . ipv6_addr", ("1-57 . ::/0", "132 . 2001:db8::-2001:db8::5")),
    "peer_icmp4": ("mark . icmp_type . icmp_code", ("0x10 . 3 . 4", "0xbeef . 8 . 0-255")),
    "peer_icmp6": ("mark . icmpv6_type . icmpv6_code", ("0xbeef . 128 . 0",)),
    "peer_net": ("mark . inet_proto", ("0x10 . 47", "0xbeef . 0-255")),
    "peer_port": ("mark . inet_proto . inet_service", ("0x10 . 6 . 22", "0xdeadbeef . 17 . 0-65535")),
    "port4": ("inet_proto . inet_service . ipv4_addr", ("17 . 53 . 0.0.0.0/0", "6 . 22 . 10.0.0.1", "6 . 80-443 . 10.0.0.0/8")),
    "port6": ("inet_proto . inet_service . ipv6_addr", ("17 . 0-65535 . ::-2001::5", "6 . 80-443 . 2001:db8::/32")),
}

MAPS = (
    NftMap(name="class-001388.4", spec="type ipv4_addr : mark"),
    NftMap(name="class-001388.6", spec="type ipv6_addr : mark"),
)


def element(holder: str, *items: str, value: str = "") -> NftElement:
    """Return an element of a set or map in the fabric's inet table."""
    return NftElement(scope=Scope.FABRIC, family="inet", set=holder, items=items, vni=VNI, value=value)


def chain_sets(chain: str, *names: str) -> tuple[ChainSet, ...]:
    """Return the named sets of a chain, or all."""
    return tuple(
        ChainSet(name=f"{chain}.{name}", spec=f"type {spec}; flags interval", elements=elements)
        for name, (spec, elements) in _SETS.items()
        if not names or name in names
    )


def judge(name: str, way: str, end: str, free: str, passed: str, refuses: str) -> NftChain:
    """Return a chain that judges what a class sends (way daddr) or takes (saddr), with all rules that there can be."""
    rules = (
        f"ct state established,related ct direction . ct mark @{end} {free}",
        f"meta nfproto ipv4 meta l4proto . th dport @{name}.free4 {free}",
        f"meta nfproto ipv6 meta l4proto . th dport @{name}.free6 {free}",
        f"meta nfproto ipv4 goto {passed}",
        f"meta nfproto ipv6 goto {passed}",
        f"meta l4proto . th dport . ip {way} @{name}.port4 goto {passed}",
        f"meta l4proto . th dport . ip6 {way} @{name}.port6 goto {passed}",
        f"meta l4proto . ip {way} @{name}.net4 goto {passed}",
        f"meta l4proto . ip6 {way} @{name}.net6 goto {passed}",
        f"icmp type . icmp code . ip {way} @{name}.icmp4 goto {passed}",
        f"icmpv6 type . icmpv6 code . ip6 {way} @{name}.icmp6 goto {passed}",
        f"meta mark set ip {way} map @class-001388.4",
        f"meta mark set ip6 {way} map @class-001388.6",
        f"meta mark . meta l4proto . th dport @{name}.peer_port goto {passed}",
        f"meta mark . meta l4proto @{name}.peer_net goto {passed}",
        f"meta mark . icmp type . icmp code @{name}.peer_icmp4 goto {passed}",
        f"meta mark . icmpv6 type . icmpv6 code @{name}.peer_icmp6 goto {passed}",
        f"goto {refuses}",
    )
    return NftChain(name=name, rules=rules, sets=chain_sets(name))


SEND_CHAIN = judge(SEND, "daddr", "tracked_sender", "goto deliver", "sent", "sg_refuses_sender")
TAKE_CHAIN = judge(TAKE, "saddr", "tracked_taker", "accept", "taken", "sg_refuses_taker")
ACL_CHAIN = NftChain(
    name=ACL,
    rules=(
        f"meta l4proto . th dport . ip daddr @{ACL}.port4 return",
        f"meta l4proto . ip6 daddr @{ACL}.net6 return",
        "goto acl_refuses_sender",
    ),
    sets=chain_sets(ACL, "net6", "port4"),
)
BORDER_CHAIN = NftChain(
    name=BORDER,
    rules=(f"ip daddr != 10.0.0.0/24 jump {ACL}", f"ip6 daddr != 2001:db8::/64 jump {ACL}", f"goto {SEND}"),
)
CHAINS = (ACL_CHAIN, SEND_CHAIN, TAKE_CHAIN, BORDER_CHAIN)


def verdicts(port: str) -> tuple[NftElement, ...]:
    """Return the elements that lead a port's packets to the VPC's chains."""
    return (
        element("sends", port, value=f"goto {BORDER}"),
        element("takes", port, value=f"goto {TAKE}"),
    )


PEERS = (
    element("class-001388.4", "10.0.0.11", value="0xbeef"),
    element("class-001388.4", "10.0.0.12", value="0x10"),
    element("class-001388.6", "2001:db8::11", value="0xbeef"),
)
POLICY: tuple[KernelObject, ...] = (*MAPS, *CHAINS, *PEERS)
