"""The nftables tables of an edge's outside: packets between the internet and gateways, and packets for the edge itself.

A few rules cover any number of VPCs:

* No transit: packets from the uplink leave by a cable, or are dropped.
* A packet's source must be routed to the device by which the packet arrived. So only the VPC's own public addresses, as
  presently translated, leave by a cable. No public address of this pair, and none that is never announced, enters by the
  uplink. Source: RFC 3704 section 2.2, nft(8) FIB EXPRESSIONS.
* Many routers, e.g. those of a private border, only have private addresses. Their errors must arrive all the same, or
  instances do not learn the path MTU (RFC 1191, RFC 4890 section 4.3.1). So an error that quotes a packet of the pair's
  addresses passes. The source of an IPv4 error becomes 192.0.0.8, the address of routers without a public one (RFC 7600, IPv4
  dummy address), since a customer may use the router's own in a VPC. Whether the quoted packet was ever sent is checked by
  the hypervisor, which tracks connections.
* No VPC's packets go to the uplink's own network: it has the border router and the operator's machines, and Linux would
  resolve the MAC of each address there. The internet is behind the router. A pool has no address there (netorch.control).
* On the uplink's network, the edge itself only sends to the router: e.g. no errors about packets with forged sources.
* The edge itself accepts pings, and neighbour resolution by the uplink. A VPC's instances reach no more of it than the
  internet does. Ten pings a second are answered per network on the internet (/24, /56) and per address of a VPC, so that one
  source cannot use up the others' rate.
* The edge also accepts BGP and BFD: from the router that it has a session with (edges.bgp), by the uplink, and with the TTL
  of packets that no router has forwarded, so that no remote host can forge them (RFC 5082, RFC 5881 section 5).
* While a tunnel ends at the edge, it accepts IKE and ESP from anyone by the uplink: charon rejects peers that fail to
  authenticate. These rules come first, because all traffic of customers' sites is ESP: behind the other rules it would cost
  5,000 more instructions. The edge also accepts errors about its own ESP packets: Linux learns the path MTU from those about
  an SA that it has.
* Servers behind gateway services answer the edge's proxy (edges.endpoint). They may be on the uplink's network. Forged
  packets from their addresses find no listener above port 1023. No VPC can send to them by another gateway: the servers trust
  the proxy's statement of the client's identity, and the proxy enforces the policies.

Linux keeps a neighbour entry for each neighbour that resolves the edge's address. All namespaces of a machine share one limit
of entries; beyond it even the edge's own router cannot be resolved. So an edge answers the router and 64 more neighbours: a
redundant pair of routers asks from its own addresses, Linux from any local address (arp_announce), and IPv6 from link-local
ones, which no record contains. A neighbour stays known for an hour after its last request. A forwarded request is not from a
neighbour: its hop limit is below 255, and it would let anyone on the internet take these places (RFC 4861 section 7.1.1). A
probe for a duplicate address has no source and creates no entry (RFC 5227 section 2.1.1, RFC 4862 section 5.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from netorch.model.addr import Prefix, parse_prefix
from netorch.model.eni import Uplink
from netorch.state.base import OUTSIDE
from netorch.state.link import OUTSIDE_GROUP
from netorch.state.nft import NftTable

# Routable ranges that are never announced. Source: RFC 6890; RFC 1918, 6598, 3927, 1112 section 4, 4193, 6666, 3879, 4291
# section 2.5.5.2. Ranges for documentation and benchmarks are not included, because labs use them.
BOGONS: Final = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "240.0.0.0/4",
    "::ffff:0.0.0.0/96",
    "100::/64",
    "fc00::/7",
    "fec0::/10",
)
NAMELESS: Final = "192.0.0.8"  # a router without a public address: RFC 7600

PORTS: Final = "ports"  # Direct Connect ports, which only receive packets of VPCs (edges.direct_ports)

_NEIGHBOURS: Final = """
set ports {
    type ifname
}
counter untagged {
}
set neighbours {
    type TYPE
    size 64
    flags dynamic,timeout
    timeout 1h
}
counter COUNTER {
}
"""

_INET: Final = """
set routers {
    type ipv4_addr
}
set ike {
    type ifname . ipv4_addr
}
set upstreams {
    type ipv4_addr
}
set quotable {
    typeof @th,160,32
    flags interval
    elements = { POOLS4 }
}
set quotable6 {
    typeof @th,128,128
    flags interval
    elements = { POOLS6 }
}
set pings {
    typeof ip saddr
    size 65535
    flags dynamic,timeout
    timeout 2s
}
set pings6 {
    typeof ip6 saddr
    size 65535
    flags dynamic,timeout
    timeout 2s
}
counter outside_transit {
}
counter outside_source {
}
counter gateway_source {
}
counter to_upstream {
}
counter uplink_network {
}
counter pings {
}
counter border_ttl {
}
counter forwarded_nd {
}
counter to_edge {
}
chain forward {
    type filter hook forward priority 0; policy drop;
    iifgroup CABLES goto leaving
    oifgroup != CABLES counter name "outside_transit" drop
    fib saddr . iif oif missing goto foreign_source
    accept
}
chain foreign_source {
    iifname @ports counter name "untagged" drop
    icmp type { destination-unreachable, time-exceeded } ip saddr { BOGONS4 } @th,160,32 @quotable ip saddr set NAMELESS accept
    icmpv6 type 1-4 ip6 saddr { BOGONS6 } @th,128,128 @quotable6 accept
    counter name "outside_source" drop
}
chain leaving {
    fib saddr . iif oif missing counter name "gateway_source" drop
    ip daddr @upstreams counter name "to_upstream" drop
    ip daddr != NETWORK4 accept
    ip6 daddr != NETWORK6 accept
    counter name "uplink_network" drop
}
chain input {
    type filter hook input priority 0; policy drop;
    meta l4proto esp iifname . ip daddr @ike accept
    iifname . ip daddr @ike udp dport { 500, 4500 } accept
    iifname @ports counter name "untagged" drop
    iifgroup CABLES icmp type echo-request update @pings { ip saddr PINGS } accept
    iifgroup != CABLES icmp type echo-request update @pings { ip saddr & 255.255.255.0 PINGS } accept
    icmpv6 type echo-request update @pings6 { ip6 saddr & ffff:ffff:ffff:ff00:: PINGS } accept
    icmp type echo-request counter name "pings" drop
    icmpv6 type echo-request counter name "pings" drop
    iifgroup != CABLES icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } goto discovery
    iifgroup != CABLES ip saddr @routers tcp dport 179 ip ttl 255 accept
    iifgroup != CABLES ip saddr @routers tcp sport 179 ip ttl 255 accept
    iifgroup != CABLES ip saddr @routers udp dport 3784 ip ttl 255 accept
    iifgroup != CABLES ip saddr @routers tcp dport 179 counter name "border_ttl" drop
    iifgroup != CABLES ip saddr @routers tcp sport 179 counter name "border_ttl" drop
    iifgroup != CABLES ip saddr @routers udp dport 3784 counter name "border_ttl" drop
    iifname . ip daddr @ike icmp type destination-unreachable accept
    iifgroup != CABLES ip saddr @upstreams tcp dport 1024-65535 accept
    meta pkttype { broadcast, multicast } drop
    counter name "to_edge" drop
}
chain discovery {
    ip6 hoplimit != 255 counter name "forwarded_nd" drop
    ip6 saddr :: accept
    ip6 saddr ROUTER6 accept
    ip6 saddr fe80::/10 update @neighbours { ip6 saddr } accept
    ip6 saddr NETWORK6 update @neighbours { ip6 saddr } accept
    counter name "uplink_nd" drop
}
chain output {
    type filter hook output priority 0; policy accept;
    ip daddr ROUTER4 accept
    ip daddr @upstreams accept
    ip daddr NETWORK4 counter name "uplink_network" drop
    ip6 daddr ROUTER6 accept
    ip6 daddr NETWORK6 counter name "uplink_network" drop
}
"""

_ARP: Final = """
chain input {
    type filter hook input priority 0; policy drop;
    iifname @ports counter name "untagged" drop
    arp saddr ip { 0.0.0.0, ROUTER4 } accept
    update @neighbours { arp saddr ip } accept
    counter name "uplink_arp" drop
}
"""


def outside_tables(uplink: Uplink, pools: Iterable[str]) -> tuple[NftTable, NftTable]:
    """Return the outside's tables for packets and for ARP; `pools` are the ranges that arrive by the uplink."""
    bogons, ranges = [parse_prefix(cidr) for cidr in BOGONS], [parse_prefix(cidr) for cidr in pools]
    known = {
        "CABLES": hex(OUTSIDE_GROUP),
        "ROUTER4": uplink.gateway,
        "ROUTER6": uplink.ipv6_gateway,
        "NETWORK4": _network(uplink.address),
        "NETWORK6": _network(uplink.ipv6_address) if uplink.ipv6_address else "",
        "PINGS": "limit rate 10/second burst 20 packets",
        "NAMELESS": NAMELESS,
        **{f"BOGONS{version}": ", ".join(str(each) for each in bogons if each.version == version) for version in (4, 6)},
        **{f"POOLS{version}": _spans(each for each in ranges if each.version == version) for version in (4, 6)},
    }
    inet = _spelled(_NEIGHBOURS + _INET, {**known, "TYPE": "ipv6_addr", "COUNTER": "uplink_nd"})
    arp = _spelled(_NEIGHBOURS + _ARP, {**known, "TYPE": "ipv4_addr", "COUNTER": "uplink_arp"})
    return (NftTable(netns=OUTSIDE, family="inet", body=inet), NftTable(netns=OUTSIDE, family="arp", body=arp))


def _spelled(body: str, known: dict[str, str]) -> str:
    """Return a table's text with an uplink's values; rules with a value that the uplink lacks are left out."""
    missing = [word for word, value in known.items() if not value]
    lines = [line for line in body.splitlines() if not any(word in line for word in missing)]
    text = "\n".join(lines) + "\n"
    for word, value in known.items():
        text = text.replace(word, value)
    return text


def _spans(prefixes: Iterable[Prefix]) -> str:
    """Return prefixes as numbers for a set of raw bytes, e.g. 0xc6336400-0xc63364ff; overlapping or adjacent ones are one."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((prefix.network, prefix.last) for prefix in prefixes):
        if spans and first <= spans[-1][1] + 1:
            first, last = spans[-1][0], max(spans.pop()[1], last)
        spans.append((first, last))
    return ", ".join(f"{first:#x}" if first == last else f"{first:#x}-{last:#x}" for first, last in spans)


def _network(address: str) -> str:
    """Return the network of an address with prefix length, e.g. 198.51.100.0/24. Raises AddressError."""
    return str(parse_prefix(address, strict=False))
