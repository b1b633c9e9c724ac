"""The sysctls that netorch sets, below /proc/sys/net in its namespaces: one list of each for compilers and drivers.

A driver's dump shows exactly these. `{dev}` stands for a device's name. The lists ending in V6 hold for devices of dual-stack
VPCs only; a dump shows them while IPv6 is enabled on the device, and deleting the device's `disable_ipv6` disables it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from netorch.state.base import OUTSIDE, OVERLAY
from netorch.state.link import Sysctl
from netorch.state.names import vni_of_netns

Template = tuple[str, str]  # path, value

FRAGMENT_MEMORY: Final = 2 << 30  # bytes, for each IP version; used by who sends fragments only
FRAGMENT_S: Final = 2
GATEWAY_FRAGMENT_MEMORY: Final = 64 << 20  # of a gateway's own namespace: 26,000 fragments of 1,400 bytes

# What packets need of every device. A new device gets it from `default`; `all` is pinned too, because the kernel takes the larger
# value of the two, or either. What is not here changes nothing for a packet that passes.
DEVICE_V4: Final[dict[str, str]] = {
    "forwarding": "1",
    "arp_accept": "0",  # neighbours are set, never learnt
    "arp_filter": "0",
    "arp_ignore": "0",
    "bc_forwarding": "0",
    "bootp_relay": "0",
    "drop_gratuitous_arp": "0",
    "drop_unicast_in_l2_multicast": "0",
    "ignore_routes_with_linkdown": "0",
    "medium_id": "0",  # devices of one medium do not answer ARP for each other
    "proxy_arp": "0",  # but for ports
    "proxy_arp_pvlan": "0",  # an instance would hear that its own address is taken
    "route_localnet": "0",
    # Sources are checked per port by nft, MAC included. A strict rp_filter would add nothing but losses during a move, while
    # the instance's packets come from its port and its /32 route still leads to the old host.
    "rp_filter": "0",
    "send_redirects": "0",
}

DEVICE_V6: Final[dict[str, str]] = {
    "forwarding": "1",
    "accept_ra": "0",
    "drop_unicast_in_l2_multicast": "0",
    "ignore_routes_with_linkdown": "0",
    "proxy_ndp": "0",
    "rpl_seg_enabled": "0",
    "seg6_enabled": "0",
}

_TRACKING_SYSCTLS: Final[tuple[Template, ...]] = (
    ("netfilter/nf_conntrack_tcp_loose", "0"),  # a flow begins with a SYN: nobody picks one up in the middle
    # The receiver checks what it gets. Here it would cost a look at every byte on each host, and no packet of UDP-Lite would
    # pass: the kernel takes its checksum for one of UDP. Source: nf_conntrack_proto_udp.c, udplite_error.
    ("netfilter/nf_conntrack_checksum", "0"),
    ("netfilter/nf_conntrack_acct", "1"),  # flow logs tell packets and bytes
    ("netfilter/nf_conntrack_timestamp", "1"),  # and when a flow began
    ("netfilter/nf_conntrack_udp_timeout_stream", "180"),  # EC2's; its other timeouts are the kernel's own
)

# Of every namespace in which netorch routes.
_ROUTER_SYSCTLS: Final[tuple[Template, ...]] = (
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "1"),  # with IPv6 every device coming up walks all VRFs' tables: quadratic
    ("ipv6/conf/default/addr_gen_mode", "1"),  # none: no address that nobody asked for
    *((f"ipv4/conf/{which}/{name}", value) for which in ("all", "default") for name, value in DEVICE_V4.items()),
    *((f"ipv6/conf/default/{name}", value) for name, value in DEVICE_V6.items()),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
)

OVERLAY_SYSCTLS: Final[tuple[Template, ...]] = (
    *_ROUTER_SYSCTLS,
    # Without rp_filter the kernel still looks each source up, in case it is one of our own addresses; accept_local spares that
    # second walk through rules and routes (fib_validate_source). nft is stricter: the source is exactly the sender's own.
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/ip_early_demux", "0"),  # no socket here waits for packets, so looking for one before routing is in vain
    # The host's own services are not for instances; with udp_l3mdev_accept one could send VXLAN to its gateway's address.
    ("ipv4/tcp_l3mdev_accept", "0"),
    ("ipv4/udp_l3mdev_accept", "0"),
    # All VPCs share the memory of fragments, and each has a part of it (docs/design/shares.md). The default is 4 MB. In a data
    # center the rest of a packet comes at once or never; the kernel would wait 30 s, and 60 s for IPv6.
    ("ipv4/ipfrag_high_thresh", str(FRAGMENT_MEMORY)),
    ("ipv4/ipfrag_time", str(FRAGMENT_S)),
    ("netfilter/nf_conntrack_frag6_high_thresh", str(FRAGMENT_MEMORY)),
    ("netfilter/nf_conntrack_frag6_timeout", str(FRAGMENT_S)),
    # The kernel sends a thousand ICMP errors a second, of all namespaces together. A router's go back to the port that
    # caused them and nowhere else, so they are not among the thousand.
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/icmp/ratemask", "127"),  # a list of types that cannot be empty: one that nobody sends
    *_TRACKING_SYSCTLS,
)

# A namespace of public addresses. It is open to the internet, so the kernel's limits of ICMP errors hold.
OUTSIDE_SYSCTLS: Final = _ROUTER_SYSCTLS

# A gateway that tracks connections.
GATEWAY_SYSCTLS: Final[tuple[Template, ...]] = (
    *_ROUTER_SYSCTLS,
    *_TRACKING_SYSCTLS,
    # EC2 forgets a connection that was idle for 350 s. Source: VPC User Guide, NAT gateway basics. What nobody has answered is
    # forgotten after the kernel's 30 s (KERNEL_DEFAULTS): who only sends fills the table no further.
    ("netfilter/nf_conntrack_tcp_timeout_established", "350"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "350"),
    # The memory of fragments is one customer's alone here, and there may be many gateways (docs/design/shares.md).
    ("ipv4/ipfrag_high_thresh", str(GATEWAY_FRAGMENT_MEMORY)),
    ("ipv4/ipfrag_time", str(FRAGMENT_S)),
    ("netfilter/nf_conntrack_frag6_high_thresh", str(GATEWAY_FRAGMENT_MEMORY)),
    ("netfilter/nf_conntrack_frag6_timeout", str(FRAGMENT_S)),
    # Of TCP only what belongs to no connection is invalid, and is reset; what is out of its window the receiver judges.
    ("netfilter/nf_conntrack_tcp_be_liberal", "1"),
)

# As a new namespace has them, so they are written only when somebody has changed them. A kernel may lack some, when connection
# tracking is not loaded yet or does not know a protocol. What is not there cannot be wrong.
KERNEL_DEFAULTS: Final[dict[str, str]] = {
    "ipv4/ip_default_ttl": "64",
    "ipv4/ip_forward_use_pmtu": "0",
    "ipv4/ip_no_pmtu_disc": "0",
    "ipv4/icmp_echo_ignore_all": "0",
    "ipv4/icmp_errors_use_inbound_ifaddr": "0",
    "ipv4/icmp_ratelimit": "1000",
    "ipv6/icmp/echo_ignore_all": "0",
    "ipv6/icmp/ratelimit": "1000",
    "ipv6/max_dst_opts_length": "2147483647",
    "ipv6/max_dst_opts_number": "8",
    "ipv6/max_hbh_length": "2147483647",
    "ipv6/max_hbh_opts_number": "8",
    "netfilter/nf_conntrack_log_invalid": "0",
    "netfilter/nf_conntrack_tcp_be_liberal": "0",
    "netfilter/nf_conntrack_tcp_ignore_invalid_rst": "0",
    "netfilter/nf_conntrack_tcp_max_retrans": "3",
    "netfilter/nf_conntrack_generic_timeout": "600",
    "netfilter/nf_conntrack_gre_timeout": "30",
    "netfilter/nf_conntrack_gre_timeout_stream": "180",
    "netfilter/nf_conntrack_icmp_timeout": "30",
    "netfilter/nf_conntrack_icmpv6_timeout": "30",
    "netfilter/nf_conntrack_sctp_timeout_closed": "10",
    "netfilter/nf_conntrack_sctp_timeout_cookie_echoed": "3",
    "netfilter/nf_conntrack_sctp_timeout_cookie_wait": "3",
    "netfilter/nf_conntrack_sctp_timeout_established": "210",
    "netfilter/nf_conntrack_sctp_timeout_heartbeat_sent": "30",
    "netfilter/nf_conntrack_sctp_timeout_shutdown_ack_sent": "3",
    "netfilter/nf_conntrack_sctp_timeout_shutdown_recd": "3",
    "netfilter/nf_conntrack_sctp_timeout_shutdown_sent": "3",
    "netfilter/nf_conntrack_tcp_timeout_close": "10",
    "netfilter/nf_conntrack_tcp_timeout_close_wait": "60",
    "netfilter/nf_conntrack_tcp_timeout_established": "432000",
    "netfilter/nf_conntrack_tcp_timeout_fin_wait": "120",
    "netfilter/nf_conntrack_tcp_timeout_last_ack": "30",
    "netfilter/nf_conntrack_tcp_timeout_max_retrans": "300",
    "netfilter/nf_conntrack_tcp_timeout_syn_recv": "60",
    "netfilter/nf_conntrack_tcp_timeout_syn_sent": "120",
    "netfilter/nf_conntrack_tcp_timeout_time_wait": "120",
    "netfilter/nf_conntrack_tcp_timeout_unacknowledged": "300",
    "netfilter/nf_conntrack_udp_timeout": "30",
}

PORT_V4: Final[tuple[Template, ...]] = (
    ("ipv4/conf/{dev}/proxy_arp", "1"),
    ("ipv4/neigh/{dev}/proxy_delay", "0"),  # otherwise each answer waits up to 0.8 s
)

PORT_V6: Final[tuple[Template, ...]] = (("ipv6/conf/{dev}/disable_ipv6", "0"),)

# Without solicitations a neighbour that we have not set is unreachable: nothing is ever asked on the overlay.
VXLAN_V4: Final[tuple[Template, ...]] = (
    ("ipv4/neigh/{dev}/mcast_solicit", "0"),
    ("ipv4/neigh/{dev}/ucast_solicit", "0"),
)

VXLAN_V6: Final[tuple[Template, ...]] = (
    ("ipv6/conf/{dev}/disable_ipv6", "0"),
    ("ipv6/neigh/{dev}/mcast_solicit", "0"),
    ("ipv6/neigh/{dev}/ucast_solicit", "0"),
)

CABLE_V6: Final[tuple[Template, ...]] = (("ipv6/conf/{dev}/disable_ipv6", "0"),)

VRF_V6: Final[tuple[Template, ...]] = (("ipv6/conf/{dev}/disable_ipv6", "0"),)


_OF_GATEWAY: Final = {**KERNEL_DEFAULTS, **dict(GATEWAY_SYSCTLS)}
_OF_SHARED: Final = {
    OVERLAY: {**dict(OVERLAY_SYSCTLS), **KERNEL_DEFAULTS},
    OUTSIDE: {**dict(OUTSIDE_SYSCTLS), **KERNEL_DEFAULTS},
}


def pinned(netns: str) -> Mapping[str, str]:
    """Return the sysctls of a namespace's own by path, with their values. A kernel may lack those of KERNEL_DEFAULTS."""
    return _OF_SHARED.get(netns, _OF_GATEWAY)


def namespace_sysctls(netns: str = OVERLAY) -> Iterator[Sysctl]:
    """Yield a namespace's own sysctls, e.g. `namespace_sysctls(OUTSIDE)`."""
    vni = vni_of_netns(netns)
    return (Sysctl(netns=netns, vni=vni, path=path, value=value) for path, value in pinned(netns).items())


def device_sysctls(templates: tuple[Template, ...], ifname: str, vni: int, netns: str = OVERLAY) -> Iterator[Sysctl]:
    """Yield the sysctls of a device, e.g. `device_sysctls(PORT_V4, "v-001388abcdef0", 5000)`."""
    return (Sysctl(netns=netns, vni=vni, path=path.format(dev=ifname), value=value, ifname=ifname) for path, value in templates)
