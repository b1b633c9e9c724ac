"""The part of OVERLAY_INET before defragmentation and connection tracking: the zone, i.e. the VPC, in which both work.

* The same addresses and ports in two VPCs are two connections, and fragments of two VPCs are never reassembled together. A
  packet passes `zones` twice, as the port's or the VXLAN device's and again as the VRF's; the second time its connection is
  known, and so is the zone. A packet of no connection is looked up again, as the VRF's: in the default zone it would match
  another VPC's connection.
* A packet's priority says where it comes from and leads to its zone: its port's chain has checked it, or the host's own table
  has verified it. `other_packets` have neither priority: packets in others' names, packets from a cable, and each SYN that a
  guard has changed. Any other packet of a port or of a VXLAN device without one is dropped.
* Each packet that no flowtable forwards comes here on both hosts. So the commonest ones are compared first, and a packet to
  addresses at which there is no service is spared the look-up of services.
* Connection tracking looks behind an IPv6 authentication header and rules do not. So such a packet would, under a rule for
  protocol 51, open connections that no rule permits. Therefore these packets are not tracked: each is evaluated by itself
  (`authenticated`). An IPv6 fragment whose header chain continues in another fragment is `invalid`: otherwise an authentication
  header, or an ICMP error that the port's chain drops, could hide in a later fragment. A port's chain could be deceived about
  the end of the header chain: at that point the kernel has not trimmed the bytes behind a packet's end yet.
* The kernel keeps the fragments of all VPCs in one memory until a packet is complete, or times out. An instance could fill it
  with fragments of packets that it never completes. So each port has a rate limit, in packets and in bytes, and so have packets
  for a VPC from other hosts, before the kernel keeps anything. The limits are per device: rules cannot read a zone that was
  just set. An unfragmented packet pays one comparison. A complete packet with a fragment header is never kept, so it has no
  limit.
"""

from __future__ import annotations

from typing import Final

from policy.near import SERVED6_AT, SERVED_AT

_FRAGMENT: Final = "@nh,32,32 & 0x3fff != 0x0"  # of IPv4: `ip frag-off & 16383 != 0`, with all four bytes

ZONES: Final = (
    """chain zones {
    type filter hook prerouting priority -450; policy accept;
    ct state != invalid accept
    meta nfproto ipv6 goto zones6
    FRAGMENT jump fragments
    meta priority CHECKED_PRIORITY goto from_port
    meta priority VERIFIED ct zone set iifname map @zone accept
    goto other_packets
}
chain zones6 {
    meta l4proto != ah goto whole6
    meta l4proto ah goto authenticated
    goto drop_invalid
}
chain whole6 {
    exthdr frag 1 jump fragments
    meta priority CHECKED_PRIORITY goto from_port6
    meta priority VERIFIED ct zone set iifname map @zone accept
    goto other_packets
}
chain from_port {
    meta mark set CHECKED
    SERVED_LINK_LOCAL jump to_services
    SERVED_RESOLVER jump to_services
    ct zone set iifname map @port_zone accept
    goto zoned
}
chain from_port6 {
    meta mark set CHECKED
    SERVED6_AT jump to_services6
    ct zone set iifname map @port_zone accept
    goto zoned
}
chain zoned {
    ct zone set iifname map @zone accept
    counter name "no_zone" drop
}
chain other_packets {
    meta priority BEGUN goto begun
    meta priority != VERIFIED jump unproven
    ct zone set iifname map @zone accept
    meta mark FOR_OTHERS ct zone set iifname map @port_zone accept
    iifname "v-*" goto drop_unchecked
    counter name "no_zone" drop
}
chain unproven {
    iifname "vx*" goto drop_unproven
    meta mark REDIRECTED goto drop_unproven
}
chain fragments {
    frag frag-off 0 frag more-fragments 0 return
    update @fragment_packets { iif limit rate over PACKETS/second burst PACKETS packets } goto drop_fragments
    update @fragment_bytes { iif limit rate over MBYTES mbytes/second burst MBYTES mbytes } goto drop_fragments
}
chain authenticated {
    meta priority CHECKED_PRIORITY meta mark set CHECKED
    meta priority != VERIFIED jump unproven
    meta mark != { CHECKED, FOR_OTHERS } iifname "v-*" goto drop_unchecked
    notrack
    accept
}
""".replace("FRAGMENT ", f"{_FRAGMENT} ")
    .replace("SERVED_LINK_LOCAL", SERVED_AT[0])
    .replace("SERVED_RESOLVER", SERVED_AT[1])
    .replace("SERVED6_AT", SERVED6_AT)
)
