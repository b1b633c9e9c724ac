"""Policy for the two instances: growing records of groups, ACLs and members, and an equivalent ruleset by hand."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from datapath_vm.topologies import (
    PAIRS,
    SIDES,
    SPOOF_ON_THE_PORT,
    VERIFY_BY_HAND,
    VNI,
    Side,
    Site,
    load_in,
    port_name_in,
    run,
    without_rules,
)
from datapath_vm.traffic import PORT
from netorch.model.ids import make_id
from netorch.model.mapping import Mapping
from netorch.model.security import UDP, AclEntry, NetworkAcl, SecurityGroup, SecurityGroupRule
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.codec import decode
from netorch.state.nft import VERIFIED_TEXT
from netorch.state.owner import overlay_netns
from policy.nftgen import raw
from policy.skeleton import FRAGMENT_MBYTES_PER_S, FRAGMENTS_PER_S

EVERYONE = "0.0.0.0/0"
EVERYONE6 = "::/0"
PAIR = "10.44.0.0/16"  # both instances
PAIR6 = "fd00:44::/56"
THIRD = ("hv3", "192.0.2.3")  # a host that appears only in mappings
FULL_RULES = 50  # EC2's quota is 60 a direction
LOW = (1, 16_383)  # the ports that ACLs let in and out; answers go to SOURCE and above: up to 15,000 connections
ACL_CLOSED = "10.44.99.0/24"
ACL_OPEN = [f"10.{100 + number}.0.0/16" for number in range(8)]
ACL_CLOSED6 = "fd00:44:0:99::/64"
ACL_OPEN6 = [f"fd00:{100 + number}::/32" for number in range(8)]

Peer = tuple[str, int, int]  # CIDR, first and last UDP port


def peers(count: int) -> list[Peer]:
    """Return different permissions; the first is the one that the two instances need."""
    others = [
        (f"172.{16 + number % 16}.{number // 16}.0/24", 2000 + 7 * number, 2000 + 7 * number + number % 5)
        for number in range(count)
    ]
    return [(PAIR, PORT, PORT), *others[1:]]


def peers6(count: int) -> list[Peer]:
    """Return the same permissions for IPv6, each with a /64."""
    others = [(f"fd01:{number:x}::/64", first, last) for number, (_, first, last) in enumerate(peers(count))]
    return [(PAIR6, PORT, PORT), *others[1:]]


def ports_of_one(count: int) -> list[Peer]:
    """Return permissions with one CIDR; the first is the one that the two instances need."""
    return [(PAIR, PORT, PORT), *((PAIR, 2000 + 7 * number, 2000 + 7 * number) for number in range(count - 1))]


def networks_of_one(count: int) -> list[Peer]:
    """Return permissions with one port; the first is the one that the two instances need."""
    return [(PAIR, PORT, PORT), *((f"172.{16 + number % 16}.{number // 16}.0/24", PORT, PORT) for number in range(count - 1))]


class Policy:
    """The group of the two instances and the ACL of their subnets; a change is compiled and applied before its method returns."""

    def __init__(self, site: Site) -> None:
        self._site = site
        found = [kv for kv in site.store.list(keys.vpc_prefix(VNI)).kvs if "/sg/" in kv.key]
        groups = [decode(kv, SecurityGroup) for kv in found]
        self._group = next(group for group in groups if group.name == "measured")
        self._subnets = [decode(kv, Subnet) for kv in site.store.list(keys.vpc_prefix(VNI)).kvs if "/subnet/" in kv.key]
        self._numbers = iter(range(1, 1 << 40))

    def full(self, *, dual_stack: bool = False) -> None:
        """Set fifty permissions a direction and IP version, and ACLs with ten entries between the subnets."""
        self.permit(peers(FULL_RULES) + (peers6(FULL_RULES) if dual_stack else []))
        self._site.put([(keys.resource(self._acl_id), _acl(self._acl_id, dual_stack=dual_stack))])
        self._associate(self._acl_id)

    def without_acl(self) -> None:
        """Set the default ACL, which allows everything."""
        self._associate("")

    def permit(self, permitted: Iterable[Peer]) -> None:
        """Let members send to and receive from these peers, and no others."""
        rules = [self._rule(cidr=cidr, ports=(first, last)) for cidr, first, last in permitted]
        self._replace(rules, rules)

    def permit_untracked(self, count: int) -> None:
        """Let members receive single UDP ports from everyone, and send everything: EC2 tracks none of these connections."""
        ports = [PORT, *(2000 + 2 * number for number in range(count - 1))]
        all_ = (EVERYONE, EVERYONE6)
        ingress = [self._rule(cidr=cidr, ports=(port, port)) for port in ports for cidr in all_]
        self._replace(ingress, [self._rule(cidr=cidr) for cidr in all_])

    def permit_groups(self, count: int) -> None:
        """Let members reach members, and the single member of each of `count` - 1 other groups."""
        others = []
        for number in range(count - 1):
            other = SecurityGroup(id=self._id("sg"), vni=VNI, name=f"g{number}")
            self._site.put([(keys.resource(other.id), other)], apply=False)
            others.append(other.id)
        self.add_members([(other,) for other in others])
        rules = [self._rule(group=group, ports=(PORT, PORT)) for group in (self._group.id, *others)]
        self._replace(rules, rules)

    def permit_members(self, count: int) -> None:
        """Let members reach members, `count` in all."""
        rules = [self._rule(group=self._group.id, ports=(PORT, PORT))]
        self._replace(rules, rules)
        self.add_members([(self._group.id,)] * (count - len(SIDES)))

    def add_members(self, groups: list[tuple[str, ...]]) -> None:
        """Add an address on a third host for each of these sets of groups."""
        host, vtep = THIRD
        records: list[tuple[str, msgspec.Struct]] = []
        for one in groups:
            number = next(self._numbers)
            address = f"10.44.{64 + (number >> 8)}.{number & 255}"
            mac = f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
            mapping = Mapping(vni=VNI, address=address, eni=self._id("eni"), mac=mac, host=host, vtep=vtep, groups=one)
            records.append((keys.mapping(VNI, address), mapping))
        self._site.put(records)

    @property
    def _acl_id(self) -> str:
        return make_id("acl", VNI, 0xAC1)

    def _id(self, kind: str) -> str:
        return make_id(kind, VNI, 0xBE7C00000 + next(self._numbers))

    def _rule(self, cidr: str = "", group: str = "", ports: tuple[int, int] = (0, 65535)) -> SecurityGroupRule:
        return SecurityGroupRule(id=self._id("sgr"), protocol=UDP, from_port=ports[0], to_port=ports[1], cidr=cidr, group=group)

    def _replace(self, ingress: list[SecurityGroupRule], egress: list[SecurityGroupRule]) -> None:
        group = msgspec.structs.replace(self._group, ingress=tuple(ingress), egress=tuple(egress))
        self._site.put([(keys.resource(group.id), group)])

    def _associate(self, acl_id: str) -> None:
        changed = [msgspec.structs.replace(subnet, acl=acl_id) for subnet in self._subnets]
        self._site.put([(keys.resource(subnet.id), subnet) for subnet in changed])


def _acl(acl_id: str, *, dual_stack: bool) -> NetworkAcl:
    """Return an ACL that allows UDP to low ports of the VPC's addresses except one subnet, and of eight other networks."""
    kinds = [(ACL_CLOSED, (PAIR, *ACL_OPEN)), *([(ACL_CLOSED6, (PAIR6, *ACL_OPEN6))] if dual_stack else [])]
    ordered = [(cidr, cidr == closed) for closed, opened in kinds for cidr in (closed, *opened)]
    entries = tuple(
        AclEntry(number=100 + number, allow=not denied, protocol=UDP, cidr=cidr, from_port=LOW[0], to_port=LOW[1])
        for number, (cidr, denied) in enumerate(ordered)
    )
    return NetworkAcl(id=acl_id, vni=VNI, name="guarded", ingress=entries, egress=entries)


# What an expert types for this host and its one instance under `Policy.full`, equal in function to netorch's ruleset:
# - VXLAN packets are verified by everything that netorch compares, and get a priority that the overlay requires.
# - Spoofed packets are dropped at the port, before any state exists; so are ICMP errors about packets not sent to the instance.
# - Fragments from a device are limited, in packets and in bytes a second.
# - The VPC has its own conntrack zone, set from the device before defragmentation.
# - The subnet's ACL is stateless. It evaluates every packet that crosses the border, first, by the packet's ports and addresses.
# - A group must permit the first packet of a connection, and each SYN; a mark records the permission, also for related packets.
#   The flags are compared first: they show for most packets, whatever their protocol, that they are no SYN.
# - Packets from the overlay do not go back to it; packets that are not permitted are dropped and counted.
# - A VPC with too many connections cannot open new ones: a measuring process adds its zone to a set, where it expires.
# The ruleset need not record which of a connection's two ends gave the permission, since only one of them is on this host.
POLICY_BY_HAND = """
table inet hand {
    set acl {
        type ipv4_addr . inet_service . inet_proto; flags interval
        elements = { %(acl)s }
    }
    set group {
        type ipv4_addr . inet_service . inet_proto; flags interval
        elements = { %(group)s }
    }
    set crowded {
        typeof ct zone; size 65535; timeout 10s
    }
    set fragment_packets {
        typeof iif; size 65535; flags dynamic,timeout; timeout 10s
    }
    set fragment_bytes {
        typeof iif; size 65535; flags dynamic,timeout; timeout 10s
    }
    chain zones {
        type filter hook prerouting priority -450; policy accept;
        ct state != invalid accept
        ip frag-off & 16383 != 0 jump fragments
        iifname vmap { "%(port)s" : goto own, "vx%(number)d" : goto verified, "vrf%(number)d" : goto own }
    }
    chain fragments {
        update @fragment_packets { iif limit rate over %(fragments)d/second burst %(fragments)d packets } counter drop
        update @fragment_bytes { iif limit rate over %(mbytes)d mbytes/second burst %(mbytes)d mbytes } counter drop
    }
    chain verified {
        meta priority != %(verified)s counter drop
        ct zone set 1
    }
    chain own {
        ct zone set 1
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        meta sdifname vmap { "%(port)s" : goto leaves, "vx%(number)d" : goto arrives }
    }
    chain leaves {
        ip daddr != %(subnet)s ip daddr . th dport . meta l4proto != @acl counter drop
        ct mark 1 @th,104,8 & 0x17 != 0x2 accept
        ct mark 1 meta l4proto != tcp accept
        ip daddr . th dport . meta l4proto @group goto permitted
        counter drop
    }
    chain arrives {
        oifname != "%(port)s" counter drop
        ip saddr != %(subnet)s ip saddr . th dport . meta l4proto != @acl counter drop
        ct mark 1 @th,104,8 & 0x17 != 0x2 accept
        ct mark 1 meta l4proto != tcp accept
        ip saddr . th dport . meta l4proto @group goto permitted
        counter drop
    }
    chain permitted {
        ct state new goto begins
        ct state invalid counter drop
        accept
    }
    chain begins {
        ct zone @crowded counter drop
        ct mark set 1
        accept
    }
}
"""


def policy_by_hand() -> None:
    """Load the ruleset by hand that is equivalent to `Policy.full`, in place of netorch's."""
    without_rules()
    for here, there in PAIRS:
        load_in(here.host, VERIFY_BY_HAND % values(here, there))
        load_in(overlay_netns(here.host), (SPOOF_ON_THE_PORT + POLICY_BY_HAND) % values(here, there))


def values(here: Side, there: Side) -> dict[str, object]:
    """Return the values for the placeholders of the rulesets by hand."""
    low = f"{LOW[0]}-{LOW[1]}"
    return {
        "peer": there.vtep,
        "vni": VNI << 8,
        "inner": raw(there.address),
        "own": raw(here.address),
        "port": port_name_in(overlay_netns(here.host)),
        "mac": here.mac,
        "verified": VERIFIED_TEXT,
        "fragments": FRAGMENTS_PER_S,
        "mbytes": FRAGMENT_MBYTES_PER_S,
        "address": here.address,
        "number": VNI,
        "subnet": here.subnet,
        "group": ", ".join(f"{cidr} . {first}-{last} . udp" for cidr, first, last in peers(FULL_RULES)),
        "acl": ", ".join(
            f"{addresses} . {low} . udp" for addresses in ("10.44.0.0-10.44.98.255", "10.44.100.0-10.44.255.255", *ACL_OPEN)
        ),
    }


def only_connections() -> None:
    """Keep only zones and connection tracking in the overlay's inet table; it still clears marks, as the whole policy does.

    A marked packet misses the VXLAN device's cached route to the other host, at some 775 instructions. With the whole policy no
    packet has a mark there. Source: include/net/ip_tunnels.h, ip_tunnel_dst_cache_usable.
    """
    for side in SIDES:
        rules = "flush chain inet netorch forward\nchain inet netorch forward { policy accept; meta mark set 0x0; }\n"
        load_in(overlay_netns(side.host), rules)


def only_ports_and_verification() -> None:
    """Delete the overlay's inet table."""
    for side in SIDES:
        without_table("inet", overlay_netns(side.host))


def only_verification() -> None:
    """Delete the overlay's remaining table, that of the ports."""
    for side in SIDES:
        without_table("netdev", overlay_netns(side.host))


def no_policy() -> None:
    """Delete netorch's last table, which verifies VXLAN packets."""
    for side in SIDES:
        without_table("ip", side.host)


def without_table(family: str, namespace: str) -> None:
    """Delete one of netorch's tables."""
    nft(namespace, "delete", "table", family, "netorch")


def nft(namespace: str, *words: str) -> str:
    """Run nft in a namespace and return its output. Raises RuntimeError."""
    return run("ip", "netns", "exec", namespace, "nft", *words)
