"""The part of OVERLAY_INET for local services to instances (netorch.model.services.near).

* `served` (IPv6: `served6`) applies to packets that a port's chain has found to come from the interface's own addresses, and
  names the ports. So the services are closed to other hosts, peers, gateways, and to senders that use another's address.
* Such packets and their answers are not tracked: they take no room in the connection table that all VPCs share, and a VPC that
  may open no more connections can still query. The customer's rules are not evaluated, as in EC2.
* Each interface may send as many packets per second as in EC2. Other packets to these addresses are dropped, without a flow
  log.
"""

from __future__ import annotations

from typing import Final

from netorch.model.services.near import METADATA, PACKETS_PER_S

# Where these addresses are: a packet to elsewhere is spared the look-up. The resolver is the third address of the VPC's first
# range, which is a /28 or wider; the others are 169.254.169.253 and .254, and fd00:ec2::253.
SERVED_AT: Final = ("@nh,128,16 0xa9fe", "@nh,128,32 & 0xf == 0x2")
SERVED6_AT: Final = "@nh,192,32 0xfd000ec2"

_RATE: Final = f"{PACKETS_PER_S}/second burst {PACKETS_PER_S} packets"

NEAR: Final = f"""set served {{
    type ifname . ipv4_addr
    size 262144
}}
set served6 {{
    type ifname . ipv6_addr
    size 262144
}}
set near_packets {{
    typeof meta sdif
    size 65535
    flags dynamic,timeout
    timeout 10s
    gc-interval 10s
}}
counter to_near {{
}}
counter near_allowance {{
}}
chain to_services {{
    iifname . ip daddr @served goto served
}}
chain to_services6 {{
    iifname . ip6 daddr @served6 goto served
}}
chain served {{
    notrack
    accept
}}
chain near {{
    update @near_packets {{ meta sdif limit rate over {_RATE} }} counter name "near_allowance" drop
    ip daddr {METADATA} tcp dport 80 accept
    ip daddr {METADATA} counter name "to_near" drop
    meta l4proto {{ tcp, udp }} th dport 53 accept
    counter name "to_near" drop
}}
chain answers {{
    type filter hook output priority -450; policy accept;
    notrack
}}
"""
