"""Who may speak on a port: the table OVERLAY_NETDEV, in which each port has a chain at its ingress.

* Each port has a chain of its own at its ingress, before anything else of the kernel sees a packet: fragments of spoofed packets
  are not kept, and nothing answers them. It compares MAC and address with literals, of IP and of ARP packets alike; that is the
  cheapest check there is, since it is entered for this port's packets only. What matches nothing is dropped: frames that are
  neither have no receiver here in any case, as nothing is bridged.
* An ICMP error passes with the connection that it quotes, so who sends one must be an end of it: an instance may complain of
  packets to its own address only, and in one piece, so that the quotation is in it. Redirects are a router's to send.
* The kernel puts fragments together behind these chains. A fragment behind the first one shows its addresses only: any byte of it
  could be taken for the type of an ICMP message. The first one has the header and is checked by it.
* What comes from the own MAC and names nobody is dropped without being counted (`nameless`): every machine that boots asks for an
  address, probes one, introduces itself to a switch. `spoofed` counts what names somebody else. A link-local address that is not
  made of the MAC (RFC 7217) names nobody. It gets no answer: each such address would be an entry of a table of neighbours that
  all customers of a host share. The instance's other addresses resolve the router just as well.
* What a client of DHCP sends that has no address yet names nobody either, and is dropped. But the kernel shows it to
  netorch's own daemon, which answers at the port (netorch.services.dhcp): nothing of DHCP ever gets into the overlay. What a
  client sends in its own name is shown and dropped in OVERLAY_INET's `input`, whether it is broadcast or sent to the router.
  Each port has a rate of its own.
* What passes bears a mark. The mark says "checked at its port", and OVERLAY_INET knows no zone for a port's packet without it, so
  that a port without its chain is mute. An instance cannot set it: a packet's mark does not survive the way out of a namespace.
* DHCP servers and router advertisements of an instance reach nobody: broadcast, multicast and link-local packets are not
  forwarded, so nothing is needed against them. Neighbour entries are permanent, so ARP changes nothing but asks.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import DHCP_GROUP, drop_chain

DHCP_PER_S: Final = 8  # questions of one port; a client sends two, and the same again after seconds
DHCP: Final = "@th,0,32 0x440043 meta l4proto udp"  # from port 68 to 67. The ports first: no other packets have these two

OVERLAY_NETDEV: Final = f"""
set icmp_errors {{
    type icmp_type
    size 8
    elements = {{ 3, 4, 5, 11, 12 }}
}}
set icmpv6_errors {{
    type icmpv6_type
    flags interval
    elements = {{ 0-127 }}
}}
set dhcp_asked {{
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
}}
counter spoofed {{
}}
{drop_chain("spoofed")}
chain dhcp {{
    update @dhcp_asked {{ iif limit rate over {DHCP_PER_S}/second burst {DHCP_PER_S} packets }} drop
    log group {DHCP_GROUP}
    drop
}}
chain nameless {{
    meta protocol != ip meta protocol != ip6 meta protocol != arp drop
    ip saddr 0.0.0.0 {DHCP} goto dhcp
    arp saddr ip 0.0.0.0 drop
    arp saddr ip 169.254.0.0/16 drop
    meta pkttype {{ broadcast, multicast }} ip saddr 0.0.0.0 drop
    meta pkttype {{ broadcast, multicast }} ip saddr 169.254.0.0/16 drop
    ip6 saddr fe80::1 goto drop_spoofed
    ip6 saddr fe80::/10 drop
    ip6 saddr :: drop
    goto drop_spoofed
}}
"""
