"""The nftables skeletons of a host, as text.

Every rule is one look-up, whatever the number of VPCs. Connections are tracked in the overlay only, not those of the host itself.

UNDERLAY_IP, in the host's own namespace: who may send VXLAN packets to this host. See policy.underlay.
OVERLAY_NETDEV, where VRFs, VXLAN devices and ports are: who may speak on a port. See policy.tables.ports.

OVERLAY_INET: to whom instances may send. No packet passes `forward` unless both ends say so that are here.
* `zones` comes before defragmentation and connection tracking: it says in which zone, that is for which VPC, both work. The same
  addresses and ports in two VPCs are two connections, and fragments of two VPCs are never put together. A packet passes it twice,
  as the port's or the VXLAN device's and again as the VRF's; the second time its connection is known, and so is the zone. What
  belongs to no connection is looked up again, as the VRF's: in the zone of all the others it would meet a stranger's.
  Verification is asked for where a packet from another host gets its zone, or is let past without one (`authenticated`).
  What stands behind an authentication header of IPv6 is seen by connection tracking and not by rules, so it would begin, under
  a rule for protocol 51, connections that no rule permits. Such packets are in no connection: each is evaluated by itself.
  A fragment of IPv6 whose chain of headers goes on in another one is `invalid`: such a header, or an ICMP error that the port's
  chain refuses, would stand in a fragment that shows it to nobody. A port's chain could be told another end of the chain: it sees
  what the kernel has not cut off yet behind a packet's end.
* The kernel keeps the fragments of all VPCs in one memory until a packet is whole, or their time is over. An instance that sends
  fragments whose others never come could fill it. So each port has a rate of its own, in packets and in bytes, and so has what
  comes for a VPC from other hosts, before the kernel keeps anything. The rates are those of a device: a zone that was only just
  set cannot be read. What is whole pays one comparison; a whole packet with a fragment header is never kept, so it has no limit.
* Maps and sets say how many elements they may have: the kernel then has a table for them that is cheaper to ask. A state is
  compared as a whole (`==`, `!=`), which spares a step; a packet that is in no connection yet is `invalid`, too.
* `forward`: the marks tell what comes from a port. They are cleared, so that they cannot choose a route in the underlay, and used
  again only while an identity's chain runs. What came from another host does not go to one: its sender has an outdated mapping
  and would never learn of it; the exception is an address that has just moved away. Where a packet leaves is told by a number,
  the group of the VXLAN devices: that is cheaper than to compare names.
* What an interface without source/destination check sends as others bears another mark: it leaves neither by a cable to a peer
  nor by a peer's VXLAN device (docs/design/peering.md). What came from elsewhere leaves by no cable.
* `egress_policy` and `ingress_policy` lead from a port to its VPC's chains (policy.chains). Egress ends in `deliver`, ingress in
  `accept`, all else in `drop`. A port without its element neither sends nor receives.
* `deliver` returns to `forward` for a receiver on this host, with a mark that nothing else sets there: a chain that runs out
  returns without it, and the packet is dropped. It does not go on to `ingress_policy` itself, because the kernel follows every
  path from the base chains when an element with a verdict comes: each sender's chain to each receiver's would be the square of
  the ports (15 s for one element at 800 VPCs). Source: net/netfilter/nf_tables_api.c, nft_table_validate.
* What a connection's two interfaces know of it are two bits of its mark: 1, the one that began it tracks it; 2, the other does.
  `tracked_egress` and `tracked_ingress` hold the directions and marks with which a packet passes an end without evaluation.
  EC2 calls the connections untracked that may begin, and be answered, whatever the other end is: each packet of them is
  evaluated. What is `invalid` passes by untracked rules only.
* A mark is set by a connection's first packet, and by each SYN. The connection tracker takes a SYN between the ports of an old
  connection for a packet of that one, and follows the new handshake in its place. So `known_...` sends a SYN back to the rules,
  which say for each end whether the new connection is tracked. A refused SYN changes nothing: the old connection may live on.
* What begins a connection is looked up among the zones that hold more connections than are free on this host
  (agent/tasks/allowance.py) once rules permit it: what an end tracks is `sent` or `received` but once, and what nobody tracks
  passes each time by `freely_sent` or `freely_received`, which know it by `confirmed`. No packet of a known connection is refused
  there. Elements of `over_allowance` expire, so that without an agent nobody is refused for ever.
* What comes to an interface that routes lead to is redirected from the VXLAN device to its inlet, with a mark
  (netorch.compiler.inlets): it must be verified as well. What comes to the inlet by its cable, from ports of this host, bears
  neither mark nor priority. It was evaluated as its sender's, and is evaluated again as what the interface receives. The cable's
  near end has the VXLAN devices' group: a packet leaves by it as to another host, and none from another host does.
* `input`: an instance may ping the router and resolve its address, on its own host; every host has the router's addresses, so
  none of that ever travels. What arrives from another host for a router's address is refused, ICMP errors too: decisions are
  made at the source, so that the far host has no errors to send. Multicast (RS, MLD, IGMP) is refused without being counted:
  every honest instance sends it.
* A refusal has a chain of its own, which tells the packet's first bytes to whoever listens and counts it. The counter's name is
  the reason in both. Each VPC has a rate of its own. What is beyond it is counted, and the listener hears once a second which VPC
  it is of. In front of it stands whether the connection tracker has counted the packet for a connection, as far as it shows, so
  that flow logs can take it off again. What nobody listens to costs the two look-ups of the listener.
* `served`, `near`: what serves instances on their own host. See policy.near.
* `output`: a router says nothing to other hosts. The errors that it would send back (no such address, too old) are in its own
  name, for which no host may speak: the other one would count them as a lie of this host.
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
from policy.tables.ports import DHCP, DHCP_PER_S, OVERLAY_NETDEV
from policy.underlay import UNDERLAY_IP

# What one port may send in fragments, and one VPC receive from other hosts. See docs/design/shares.md for the arithmetic.
FRAGMENTS_PER_S: Final = 20_000
FRAGMENT_MBYTES_PER_S: Final = 30

CHECKED: Final = "0x4e54"  # the mark of what has passed a port's chain
FOR_OTHERS: Final = "0x4e58"  # of what has passed the chain of a port without source/destination check, in another's name
SENT: Final = "0x4e55"  # the mark of what its sender may send, on its way to the receiver's chain on this host
PORT_ZONES: Final = "port_zone"  # the map that names a port's conntrack zone
POLICY_MAPS: Final = {"egress": "egress_policy", "ingress": "ingress_policy"}  # the maps that name a port's chain, by direction

# SYN without FIN, RST and ACK. The flags first, whatever the packet is: they are no others' most of the time, and cheap to load.
BEGINS: Final = "@th,104,8 & 0x17 == 0x2 meta l4proto tcp"

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
set tracked_egress {
    typeof ct direction . ct mark
    size 8
    elements = { original . 0x1, original . 0x3, reply . 0x2, reply . 0x3 }
}
set tracked_ingress {
    typeof ct direction . ct mark
    size 8
    elements = { original . 0x2, original . 0x3, reply . 0x1, reply . 0x3 }
}
NEAR
set dhcp_asked {
    typeof meta sdif
    size 65535
    flags dynamic,timeout
    timeout 10s
}
set over_allowance {
    typeof ct zone
    size 65535
    timeout 10s
}
set fragment_packets {
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
}
set fragment_bytes {
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
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
chain zones {
    type filter hook prerouting priority -450; policy accept;
    ct state != invalid accept
    meta nfproto ipv6 jump headers
    ip frag-off & 16383 != 0 jump fragments
    meta mark CHECKED iifname . ip daddr @served goto served
    meta mark CHECKED iifname . ip6 daddr @served6 goto served
    meta mark CHECKED ct zone set iifname map @port_zone accept
    meta priority != VERIFIED jump unproven
    ct zone set iifname map @zone accept
    meta mark FOR_OTHERS ct zone set iifname map @port_zone accept
    meta mark != CHECKED iifname "v-*" goto drop_unchecked
    counter name "no_zone" drop
}
chain unproven {
    iifname "vx*" goto drop_unproven
    meta mark REDIRECTED goto drop_unproven
}
chain headers {
    meta l4proto ah goto authenticated
    meta l4proto != ah exthdr frag 1 jump fragments
    meta l4proto != ah return
    goto drop_invalid
}
chain fragments {
    frag frag-off 0 frag more-fragments 0 return
    update @fragment_packets { iif limit rate over PACKETS/second burst PACKETS packets } goto drop_fragments
    update @fragment_bytes { iif limit rate over MBYTES mbytes/second burst MBYTES mbytes } goto drop_fragments
}
chain authenticated {
    meta priority != VERIFIED jump unproven
    meta mark != { CHECKED, FOR_OTHERS } iifname "v-*" goto drop_unchecked
    notrack
    accept
}
chain forward {
    type filter hook forward priority -20; policy drop;
    meta mark != CHECKED jump not_from_itself
    meta mark set 0x0 meta sdifname vmap @egress_policy
    meta mark SENT meta mark set 0x0 oifname vmap @ingress_policy
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
chain sent {
    ct state == new goto begins_here
    ct state == invalid goto drop_invalid
    BEGINS jump sender_tracks
    meta mark set 0x0
    goto deliver
}
chain sender_tracks {
    ct direction original ct mark set ct mark | 0x1
    ct direction reply ct mark set ct mark | 0x2
}
chain begins_here {
    ct zone @over_allowance jump crowded
    ct mark set ct mark | 0x1
    meta mark set 0x0
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
    .replace("VXLAN_GROUP", hex(VXLAN_GROUP))
    .replace("PEERING_GROUP", hex(PEERING_GROUP))
    .replace("REDIRECTED", hex(REDIRECTED))
    .replace("CHECKED", CHECKED)
    .replace("SENT", SENT)
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
    """Return the tables that keep instances to their own addresses, and to their own business."""
    return (
        NftTable(netns=OVERLAY, family="inet", body=OVERLAY_INET),
        NftTable(netns=OVERLAY, family="netdev", body=OVERLAY_NETDEV),
    )
