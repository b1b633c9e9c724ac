"""The table in the host's own namespace: who may send VXLAN packets to this host.

* It stands in the input hook, for any device: there, packets are whole. The kernel puts fragments together before the hook, so
  no fragment gets round it, and none has to be checked without its inner header.
* A look-up compares the outer source, the whole VXLAN header (flags, VNI and everything reserved) and the inner source. What is
  cut short, carries an inner VLAN tag, ARP or anything but IP matches nothing: dropped.
* `speakers` says which hosts may send from other addresses than those that are mapped to them, each in one VPC: those of its
  interfaces without source/destination check, from any, and the edges of its gateways, from any that its chain `outside-<vni>`
  does not refuse. It is asked last, so what is mapped pays nothing for it.
* `ready` holds the VTEP of an edge that is fit to carry packets (edges.readiness). Hypervisors ask edges by ICMP echoes
  (netorch.agent.tasks.probes), and the kernel answers for itself, whether there is an agent or not. A rule gives the request
  another identifier, which the answer then has: a kernel without the table, or without the element, answers as well, but not so.
  `active` holds it while its seats of gateways that keep state are to be used, and a second rule says that in the same manner.
* VXLAN over IPv6 needs no rule: a VXLAN device with an IPv4 VTEP has no IPv6 socket.
* What is verified bears a priority, and OVERLAY_INET drops what comes from a VXLAN device without it. So when somebody
  empties the host's tables (`nft flush ruleset`, a reload of nftables.service), VXLAN packets are lost until the table is back,
  and none arrives unverified. Nobody can send the priority: it is no part of a packet, and Linux resets it where a veth leads to
  another namespace.
* A forged *outer* source is indistinguishable here: the underlay must not deliver packets with the address of another host.
* Every payload field that can be is two or four bytes at a multiple of its size, which the kernel loads without a copy.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import ACTIVE_ID, PROBE_ID, READY_ID, VERIFIED_TEXT, drop_chain

# Offsets in bits from the UDP header: port 16, VXLAN flags 64 and VNI 96, inner ethertype 224, inner IP header 240.
# `accept` ends this chain only, not what the host's own tables have to say.
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
    meta l4proto != udp goto others
    @th,16,16 != 4789 accept
    @th,224,16 0x0800 ip saddr . @th,64,32 . @th,96,32 . @th,336,32 @senders4 meta priority set VERIFIED accept
    @th,224,16 0x86dd ip saddr . @th,64,32 . @th,96,32 . @th,304,128 @senders6 meta priority set VERIFIED accept
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
