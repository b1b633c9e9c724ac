"""The nftables skeletons of a host, as text.

Every rule is one look-up, whatever the number of VPCs. Connections are tracked only in the overlay, not in the host's own
namespace.

UNDERLAY_IP, in the host's own namespace: who may send VXLAN packets to this host. See policy.underlay.
OVERLAY_NETDEV, in the namespace of VRFs, VXLAN devices and ports: which packets a port may send. See policy.tables.ports.

OVERLAY_INET: where instances may send. No packet passes `forward` unless both ends permit it, as far as they are on this host.
* `zones` sets the zone of connections, i.e. the VPC. See policy.tables.zones.
* Maps and sets declare how many elements they may have: the kernel then uses a table with cheaper look-ups. A state is compared
  as a whole (`==`, `!=`), which saves a step; a packet that is in no connection yet is `invalid`, too.
* Linux walks a set whose elements expire once a second, and these sets have 131,072 buckets. `gc-interval` makes it once in ten
  seconds; elements expire on time anyway. Source: include/net/netfilter/nf_tables.h, nft_set_gc_interval.
* `forward`: the marks identify packets from a port. They are cleared, so that they cannot choose a route in the underlay, and
  reused only while an identity's chain runs. A packet from another host does not go to another host: its sender has an outdated
  mapping and would never learn of it. The exception is an address that has just moved away. The way out is identified by a
  number, the group of the VXLAN devices: that is cheaper than comparing names.
* Packets that an interface without source/destination check sends from other addresses have another mark: they leave neither by
  a cable to a peer nor by a peer's VXLAN device (docs/design/peering.md). Packets from other hosts leave by no cable.
* `egress_policy` and `ingress_policy` lead from a port to its VPC's chains (policy.chains). Egress ends in `deliver`, ingress
  in `accept`, all else in `drop`. A port without its element neither sends nor receives.
* `deliver` returns to `forward` for a receiver on this host, with a mark that no other rule sets there: a chain that runs out
  returns without it, and the packet is dropped. It does not go on to `ingress_policy` itself: when an element with a verdict is
  added, the kernel follows every path from the base chains, and paths from each sender's chain to each receiver's would be the
  square of the ports (15 s for one element at 800 VPCs). Source: net/netfilter/nf_tables_api.c, nft_table_validate.
* Two bits of a connection's mark hold the tracking state of its two interfaces: 1, the initiator tracks it; 2, the other end
  does. The chains `border-...` pass packets of an end that tracks their connection without evaluation (policy.borders). EC2
  calls connections untracked that may open, and be answered, whatever the other end is: each of their packets is evaluated.
  `invalid` packets pass only by untracked rules.
* A connection's first packet and each SYN set the mark. The connection tracker assigns a SYN between the ports of an old
  connection to that connection, and follows the new handshake in its place. So `known_...` sends a SYN back to the rules, which
  decide for each end whether the new connection is tracked. A dropped SYN changes nothing: the old connection may live on.
* When rules permit a packet that opens a connection, its zone is looked up among those that hold more connections than are free
  on this host (agent/tasks/allowance.py). A tracking end passes `sent` or `received` only once. A packet that no end tracks
  passes `freely_sent` or `freely_received` each time; these recognize a known connection by `confirmed`. They drop no packet of
  a known connection for this reason. Elements of `over_allowance` expire, so that without an agent no VPC is refused forever.
* Packets to an interface that is a route target are redirected from the VXLAN device to its inlet, with a mark
  (netorch.compiler.inlets): they must be verified as well. Packets that reach the inlet by its cable, from ports of this host,
  have neither mark nor priority. They were evaluated as the sender's, and are evaluated again as the interface's received
  packets. The cable's near end is in the VXLAN devices' group: a packet leaves by it as to another host, and no packet from
  another host does.
* `input`: an instance may ping the router and resolve its address on its own host. Every host has the router's addresses, so
  such packets never travel. Packets from another host to a router's address are dropped, including ICMP errors: decisions are
  made at the source, so the remote host has no errors to send. Multicast (RS, MLD, IGMP) is dropped without being counted:
  every honest instance sends it.
* A drop has a chain of its own, which logs the packet's first bytes to listeners and counts it. The counter's name is the
  reason in both. Each VPC has its own rate; drops above it are counted, and once a second the listener learns the VPC. Before
  that, the chain notes whether the connection tracker has counted the packet for a connection, as far as visible, so that flow
  logs can subtract it. Without a listener, a drop costs only two look-ups of a listener.
* `served`, `near`: local services to instances. See policy.near.
* `output`: a router sends nothing to other hosts. Its errors (no such address, TTL exceeded) have its own source address, for
  which no host has the right to send: the other host would count them as this host's violations.
"""

from __future__ import annotations

from typing import Final

from netorch.model.services.near import RESOLVER6
from netorch.state.base import OVERLAY, UNDERLAY
from netorch.state.link import PEERING_GROUP, VXLAN_GROUP
from netorch.state.nft import DHCP_GROUP, VERIFIED_TEXT, VPC_DROP_SETS, NftTable
from netorch.state.tc import REDIRECTED
from policy.near import NEAR
from policy.tables.drops import DROP_CHAINS
from policy.tables.offload import BEGUN_PRIORITY, CHECKED_PRIORITY, OFFLOAD
from policy.tables.ports import DHCP, DHCP_PER_S, OVERLAY_NETDEV
from policy.tables.zones import ZONES
from policy.underlay import UNDERLAY_IP

# Limit of fragments sent by one port, and received by one VPC from other hosts. Arithmetic: docs/design/shares.md.
FRAGMENTS_PER_S: Final = 20_000
FRAGMENT_MBYTES_PER_S: Final = 30

CHECKED: Final = "0x4e54"  # mark of packets with CHECKED_PRIORITY, from `zones` on
FOR_OTHERS: Final = "0x4e58"  # mark by the chain of a port without source/destination check: it sends from another's address
SENT: Final = "0x4e55"  # mark of packets that their sender may send, on their way to the receiver's chain on this host
AGREED: Final = "0x4e5a"  # the same, if the sender's end agrees to offload the connection
# Mark of packets in a sender's border whose answers the subnet's ACL allows. Its lower half is 0, as that of SLOW: so one
# comparison tells both from SENT and AGREED.
ANSWERABLE: Final = "0x4e5b0000"
# Mark of packets in a sender's chains whose connection must not be offloaded. Groups' chains look up marks as identities: this
# is a number that no identity has (policy.identities).
SLOW: Final = "0x80000000"
PORT_ZONES: Final = "port_zone"  # the map from ports to their conntrack zones

# SYN without FIN, RST and ACK. The flags come first: they are cheap to load, and rarely match for other packets. Linux has short
# cuts for masks of four bytes, and for loads of four at a multiple of four. Source: nft_bitwise_select_ops
BEGINS: Final = "@th,96,32 & 0x170000 == 0x20000 meta l4proto 6"

OVERLAY_INET: Final = (
    """
set transit4 {
    type ifname . ipv4_addr
}
set transit6 {
    type ifname . ipv6_addr
}
set own_vxlan {
    type ifname . ifname
}
NEAR
set dhcp_asked {
    typeof meta sdif
    size 65535
    flags dynamic,timeout
    timeout 10s
    gc-interval 10s
}
set over_allowance {
    typeof ct zone
    size 65535
    timeout 10s
    gc-interval 10s
}
set fragment_packets {
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
    gc-interval 10s
}
set fragment_bytes {
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
    gc-interval 10s
}
DROP_SETS
map zone {
    typeof iifname : ct zone
    size 65535
}
map port_zone {
    typeof iifname : ct zone
    size 65535
}
map egress_policy {
    type ifname : verdict
    size 65535
}
map ingress_policy {
    type ifname : verdict
    size 65535
}
counter no_zone {
}
counter allowance {
}
counter fragments {
}
counter unchecked {
}
counter unproven {
}
counter transit {
}
counter peer_source {
}
counter to_router {
}
counter no_policy {
}
counter invalid {
}
counter acl_egress {
}
counter acl_ingress {
}
counter sg_egress {
}
counter sg_ingress {
}
counter suppressed {
}
ZONES
chain forward {
    type filter hook forward priority -20; policy drop;
    meta mark != CHECKED jump not_from_itself
    meta mark set 0x0 meta sdifname vmap @egress_policy
    meta mark SENT meta mark set 0x0 oifname vmap @ingress_policy
    meta mark AGREED oifname vmap @ingress_policy
    goto drop_no_policy
}
chain not_from_itself {
    meta mark FOR_OTHERS goto for_others
    oifname vmap @ingress_policy
    oifgroup VXLAN_GROUP goto relay
    oifgroup PEERING_GROUP goto drop_transit
    goto drop_no_policy
}
chain for_others {
    oifgroup != { VXLAN_GROUP, PEERING_GROUP } return
    oifname "n-*" return
    iifname . oifname @own_vxlan return
    goto drop_peer_source
}
chain relay {
    meta sdifname . ip daddr @transit4 accept
    meta sdifname . ip6 daddr @transit6 accept
    goto drop_transit
}
chain known_egress {
    BEGINS return
    oifgroup VXLAN_GROUP accept
    oifgroup PEERING_GROUP accept
    meta mark set SENT
}
chain known_ingress {
    BEGINS return
    accept
}
OFFLOAD
chain sent {
    ct state == new goto begins_here
    ct state == invalid goto drop_invalid
    BEGINS jump sender_tracks
    goto deliver
}
chain sender_tracks {
    ct direction original ct mark set ct mark | 0x1
    ct direction reply ct mark set ct mark | 0x2
}
chain begins_here {
    ct zone @over_allowance jump crowded
    ct mark set ct mark | 0x1
    goto deliver
}
chain freely_sent {
    BEGINS jump sender_forgets
    ct status confirmed goto deliver
    ct zone @over_allowance goto drop_allowance
    goto deliver
}
chain sender_forgets {
    ct direction original ct mark set ct mark & 0xfffffffe
    ct direction reply ct mark set ct mark & 0xfffffffd
}
chain deliver {
    meta mark set 0x0
    oifgroup VXLAN_GROUP accept
    oifgroup PEERING_GROUP accept
    meta mark set SENT
}
chain received {
    ct state == new goto begins_there
    ct state == invalid goto drop_invalid
    BEGINS jump receiver_tracks
    accept
}
chain receiver_tracks {
    ct direction original ct mark set ct mark | 0x2
    ct direction reply ct mark set ct mark | 0x1
}
chain begins_there {
    ct zone @over_allowance jump crowded
    ct mark set ct mark | 0x2
    accept
}
chain crowded {
    ct status confirmed return
    goto drop_allowance
}
chain freely_received {
    BEGINS jump receiver_forgets
    ct status confirmed accept
    ct zone @over_allowance goto drop_allowance
    accept
}
chain receiver_forgets {
    ct direction original ct mark set ct mark & 0xfffffffd
    ct direction reply ct mark set ct mark & 0xfffffffe
}
REFUSALS
chain input {
    type filter hook input priority 0; policy accept;
    meta mark CHECKED icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    meta mark CHECKED DHCP goto dhcp
    meta pkttype { broadcast, multicast } drop
    meta mark CHECKED meta nfproto ipv4 ct state untracked goto near
    meta mark CHECKED ip6 daddr RESOLVER6 ct state untracked goto near
    ct state new ct zone @over_allowance goto drop_allowance
    meta mark CHECKED icmp type echo-request accept
    meta mark CHECKED icmpv6 type echo-request accept
    counter name "to_router" drop
}
chain dhcp {
    meta nfproto != ipv4 drop
    update @dhcp_asked { meta sdif limit rate over DHCP_PER_S/second burst DHCP_PER_S packets } drop
    log group DHCP_GROUP
    drop
}
chain output {
    type filter hook output priority 0; policy accept;
    oifgroup VXLAN_GROUP drop
    oifgroup PEERING_GROUP drop
}
""".replace("NEAR\n", NEAR)
    .replace("ZONES\n", ZONES)
    .replace("OFFLOAD\n", OFFLOAD)
    .replace("VXLAN_GROUP", hex(VXLAN_GROUP))
    .replace("PEERING_GROUP", hex(PEERING_GROUP))
    .replace("REDIRECTED", hex(REDIRECTED))
    .replace("CHECKED_PRIORITY", CHECKED_PRIORITY)
    .replace("CHECKED", CHECKED)
    .replace("SENT", SENT)
    .replace("AGREED", AGREED)
    .replace("BEGUN", BEGUN_PRIORITY)
    .replace("DROP_SETS", VPC_DROP_SETS)
    .replace("VERIFIED", VERIFIED_TEXT)
    .replace("FOR_OTHERS", FOR_OTHERS)
    .replace("REFUSALS", DROP_CHAINS)
    .replace("DHCP_GROUP", str(DHCP_GROUP))
    .replace("DHCP_PER_S", str(DHCP_PER_S))
    .replace("DHCP ", f"{DHCP} ")
    .replace("BEGINS", BEGINS)
    .replace("RESOLVER6", RESOLVER6)
    .replace("MBYTES", str(FRAGMENT_MBYTES_PER_S))
    .replace("PACKETS", str(FRAGMENTS_PER_S))
)


def underlay_table() -> NftTable:
    """Return the table that verifies VXLAN packets."""
    return NftTable(netns=UNDERLAY, family="ip", body=UNDERLAY_IP)


def overlay_tables() -> tuple[NftTable, NftTable]:
    """Return the tables that restrict instances to their own addresses, and to permitted traffic."""
    return (
        NftTable(netns=OVERLAY, family="inet", body=OVERLAY_INET),
        NftTable(netns=OVERLAY, family="netdev", body=OVERLAY_NETDEV),
    )
