"""Which packets a port may send: the table OVERLAY_NETDEV, in which each port has a chain at its ingress.

* Each port has its own chain at its ingress, before any other part of the kernel sees a packet: fragments of spoofed packets
  are not kept, and not answered. The chain compares MAC and address of IP and ARP packets with literals. That is the cheapest
  check, since only this port's packets enter the chain. Other packets are dropped: frames that are neither IP nor ARP have no
  receiver anyway, as nothing is bridged.
* An ICMP error passes with the connection that it quotes, so its sender must be an end of that connection: an instance may send
  errors only about packets to its own address, and only unfragmented ones, so that the quotation is in them. Only routers send
  redirects.
* The kernel reassembles fragments behind these chains. A fragment after the first shows only its addresses: any of its bytes
  could be taken for the type of an ICMP message. The first one has the header and is checked by it.
* Packets from the own MAC that name no address are dropped without being counted (`nameless`): every booting machine requests
  an address, probes one, announces itself to a switch. `spoofed` counts packets with another's address. A link-local address
  that is not derived from the MAC (RFC 7217) counts as no address. It gets no answer: each such address would be an entry in a
  neighbour table that all customers of a host share. The instance's other addresses resolve the router just as well.
* A DHCP client without an address yet names none either, so its packets are dropped. But the kernel logs them to netorch's own
  daemon, which answers at the port (netorch.services.dhcp): no DHCP ever enters the overlay. Packets that a client sends from
  its own address are logged and dropped in OVERLAY_INET's `input`, whether broadcast or sent to the router. Each port has its
  own rate.
* IPv6 packets whose chain of headers does not end in the packet, e.g. because it continues in another fragment, are `invalid`:
  the packets of which the kernel cannot tell the protocol. The guards behind these chains are chains of an inet table, where
  Linux drops such packets without counting them. Source: include/net/netfilter/nf_tables_ipv6.h, nft_set_pktinfo_ipv6_ingress.
* A packet that passes gets a priority: "checked at its port". OVERLAY_INET has no zone for a port's packet without it, so a port
  without its chain cannot send. An instance cannot set it: Linux resets a packet's priority and mark where a veth leads to
  another namespace.
* DHCP servers and router advertisements of an instance reach no other instance: broadcast, multicast and link-local packets are
  not forwarded, so no rule is needed against them. Neighbour entries are permanent, so ARP can only query.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import DHCP_GROUP, drop_chain

DHCP_PER_S: Final = 8  # requests of one port; a client sends two, and again after seconds
DHCP: Final = "@th,0,32 0x440043 meta l4proto udp"  # from port 68 to 67. The ports come first: only DHCP has both

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
    gc-interval 10s
}}
counter spoofed {{
}}
counter invalid {{
}}
{drop_chain("spoofed")}
{drop_chain("invalid")}
chain whole_headers {{
    meta protocol != ip6 return
    meta l4proto 0-255 return
    goto drop_invalid
}}
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
