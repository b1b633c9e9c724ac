"""The parts of OVERLAY_INET for flowtables, which forward packets of established connections before any rule sees them.

* Between a port's chain and a flowtable is the port's guard (PORT_GUARD): it passes what the port's chain has checked. So a port
  without its chain sends nothing, with or without flowtables. It is in another table than the port's chain.
* A VXLAN device has a guard, too (VXLAN_GUARD). Nothing unverified passes it, e.g. while the host's tables are flushed. Nor
  does a frame to another MAC than the device's: a flowtable asks for no MAC, and such a packet is for an appliance or a gateway
  that is not here.
* A SYN opens a connection, so rules must judge it, also between the ports of a connection that a flowtable forwards. A
  flowtable asks only for FIN and RST: it lets go of such a packet's connection and of the packet. So a guard sets the flag FIN
  of a SYN, with the priority BEGUN (`begins`), and `begun` clears it before anything reads the packet. The mark says in between
  whether the SYN is from a port. Checksums stay: nothing reads them in between. A flowtable takes only TCP headers behind an IP
  header without options; the flags of others stay.
* A flowtable's packets leave without a mark: it would cost a VXLAN device its cached route. So ports' chains and verification
  set a priority instead, which changes nothing on the way. `zones` makes a mark of it.
* Each packet that a flowtable forwards pays for two guards. So a guard has its rules itself, and its first two decide about
  nearly all packets; one comparison at the transport header serves IPv4 and IPv6.
* `agreed` is the end of chains of senders whose packets may be offloaded, unless the mark says otherwise (policy.offload): for a
  receiver on this host, it says so by a mark.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import VERIFIED_TEXT

CHECKED_PRIORITY: Final = "1:4e50"  # priority of packets that have passed a port's chain
BEGUN_PRIORITY: Final = "1:4e5c"  # priority of a SYN whose flags a guard has changed

_SYN: Final = "@th,96,32 & 0x30000 == 0x20000 meta l4proto 6"  # SYN without FIN; see policy.skeleton.BEGINS
PORT_GUARD: Final = (f"{_SYN} goto begins_port", f"meta priority {CHECKED_PRIORITY} accept", "goto guard_port")
VXLAN_GUARD: Final = (
    f"{_SYN} goto begins_vxlan",
    f"meta priority {VERIFIED_TEXT} meta pkttype host accept",
    "goto guard_vxlan",
)

OFFLOAD: Final = """chain begins {
    ip protocol tcp @nh,0,8 0x45 @nh,264,8 set @nh,264,8 | 0x1 meta priority set BEGUN accept
    ip6 nexthdr tcp @nh,424,8 set @nh,424,8 | 0x1 meta priority set BEGUN accept
    accept
}
chain begun {
    meta nfproto ipv4 @nh,264,8 set @nh,264,8 & 0xfe
    meta nfproto ipv6 @nh,424,8 set @nh,424,8 & 0xfe
    meta mark CHECKED goto begun_port
    meta priority set VERIFIED
    goto zoned
}
chain begun_port {
    meta priority set CHECKED_PRIORITY
    meta nfproto ipv6 goto from_port6
    goto from_port
}
chain begins_port {
    meta priority CHECKED_PRIORITY meta mark set CHECKED goto begins
    goto guard_port
}
chain begins_vxlan {
    meta priority VERIFIED meta pkttype host goto begins
    goto guard_vxlan
}
chain guard_port {
    meta mark FOR_OTHERS accept
    goto drop_unchecked
}
chain guard_vxlan {
    meta priority VERIFIED drop
    goto drop_unproven
}
chain agreed {
    meta mark != 0x0 goto deliver
    oifgroup VXLAN_GROUP accept
    oifgroup PEERING_GROUP accept
    meta mark set AGREED
}
"""
