"""The table in the host's own namespace: who may send VXLAN packets to this host.

* It is in the input hook, for all devices: there, packets are complete. The kernel reassembles fragments before the hook, so no
  fragment bypasses it, and none must be checked without its inner header.
* A look-up compares the outer source, the whole VXLAN header (flags, VNI and all reserved bits) and the inner source. A packet
  that is truncated, or has an inner VLAN tag, ARP or anything but IP, matches nothing and is dropped.
* The look-ups of mapped senders come first, before the packet is known to be VXLAN: most packets of a busy host are. Another
  packet with the same bytes at these places is accepted, as it would be anyway, and nothing reads its priority.
* `speakers` lists the hosts that may send from addresses not mapped to them, each in one VPC. Hosts of interfaces without
  source/destination check may send from any address. Edges of the VPC's gateways may send from any that the chain
  `outside-<vni>` does not drop. It is looked up last, so packets from mapped addresses do not pay for it.
* `ready` holds the VTEP of an edge that is fit to carry packets (edges.readiness). Hypervisors probe edges by ICMP echoes
  (netorch.agent.tasks.probes), and the kernel answers, whether an agent runs or not. A rule replaces the request's identifier,
  which the answer then has: a kernel without the table or the element also answers, but with the original identifier. `active`
  holds the VTEP while the edge's seats of stateful gateways are to be used, and a second rule reports this in the same way.
* VXLAN over IPv6 needs no rule: a VXLAN device with an IPv4 VTEP has no IPv6 socket.
* A verified packet has a priority, and OVERLAY_INET drops packets from a VXLAN device without it. So when the host's tables are
  flushed (`nft flush ruleset`, a reload of nftables.service), VXLAN packets are lost until the table is back, and none arrives
  unverified. The priority cannot be sent: it is no part of a packet, and Linux resets it where a veth leads to another
  namespace.
* This table cannot detect a forged *outer* source: the underlay must not deliver packets with another host's address.
* Where possible, a payload field has two or four bytes at a multiple of its size: the kernel loads such a field without a copy.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import ACTIVE_ID, PROBE_ID, READY_ID, VERIFIED_TEXT, drop_chain

# Offsets in bits from the UDP header: port 16, VXLAN flags 64 and VNI 96, inner ethertype 224, inner IP header 240. `accept`
# ends only this chain: the host's own tables still apply.
UNDERLAY_IP: Final = (
    """
set senders4 {
    typeof ip saddr . @th,64,32 . @th,96,32 . @th,336,32
}
set senders6 {
    typeof ip saddr . @th,64,32 . @th,96,32 . @th,304,128
}
set relay4 {
    typeof ip saddr . @th,64,32 . @th,96,32 . @th,368,32
}
set relay6 {
    typeof ip saddr . @th,64,32 . @th,96,32 . @th,432,128
}
map speakers {
    typeof ip saddr . @th,64,32 . @th,96,32 : verdict
}
set members {
    typeof ip saddr . @th,64,32 . @th,96,32
}
set ready {
    type ipv4_addr
}
set active {
    type ipv4_addr
}
counter unverified {
}
counter unknown_vtep {
}
DROP_UNVERIFIED
DROP_UNKNOWN_VTEP
chain speaker {
    @th,224,16 0x0800 meta priority set VERIFIED accept
    @th,224,16 0x86dd meta priority set VERIFIED accept
    goto drop_unverified
}
chain others {
    icmp type echo-request icmp id PROBE ip daddr @ready icmp id set READY
    icmp type echo-request icmp id READY ip daddr @active icmp id set ACTIVE
    accept
}
chain input {
    type filter hook input priority -10; policy accept;
    @th,224,16 0x0800 ip saddr . @th,64,32 . @th,96,32 . @th,336,32 @senders4 meta priority set VERIFIED accept
    @th,224,16 0x86dd ip saddr . @th,64,32 . @th,96,32 . @th,304,128 @senders6 meta priority set VERIFIED accept
    meta l4proto != udp goto others
    @th,16,16 != 4789 accept
    @th,224,16 0x0800 ip saddr . @th,64,32 . @th,96,32 . @th,368,32 @relay4 meta priority set VERIFIED accept
    @th,224,16 0x86dd ip saddr . @th,64,32 . @th,96,32 . @th,432,128 @relay6 meta priority set VERIFIED accept
    ip saddr . @th,64,32 . @th,96,32 vmap @speakers
    ip saddr . @th,64,32 . @th,96,32 @members goto drop_unverified
    goto drop_unknown_vtep
}
""".replace("DROP_UNVERIFIED", drop_chain("unverified"))
    .replace("DROP_UNKNOWN_VTEP", drop_chain("unknown_vtep"))
    .replace(" VERIFIED", f" {VERIFIED_TEXT}")
    .replace("id PROBE", f"id {PROBE_ID}")
    .replace("set READY", f"set {READY_ID}")
    .replace("id READY", f"id {READY_ID}")
    .replace("set ACTIVE", f"set {ACTIVE_ID}")
)
