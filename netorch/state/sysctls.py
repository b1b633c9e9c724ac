"""The sysctls that netorch sets, below /proc/sys/net in its namespaces: the lists for compilers and drivers.

A driver's dump shows exactly these. `{dev}` stands for a device's name. The lists ending in V6 are for devices of
dual-stack VPCs only. A dump shows them while IPv6 is enabled on the device, and deleting the device's `disable_ipv6`
disables it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from netorch.model.security import TCP, UDP
from netorch.state.base import OUTSIDE, OVERLAY
from netorch.state.link import Sysctl
from netorch.state.names import vni_of_netns

Template = tuple[str, str]  # path, value

FRAGMENT_MEMORY: Final = 2 << 30  # bytes, for each IP version; only senders of fragments use it
FRAGMENT_S: Final = 2
GATEWAY_FRAGMENT_MEMORY: Final = 64 << 20  # of a gateway's namespace: 26,000 fragments of 1,400 bytes

# Settings that packets need on every device. A new device gets them from `default`. `all` is pinned too, because the
# kernel uses the larger value of the two, or either. Other settings do not affect forwarded packets.
DEVICE_V4: Final[dict[str, str]] = {
    "forwarding": "1",
    "arp_accept": "0",  # neighbours are set, never learned
    "arp_filter": "0",
    "arp_ignore": "0",
    "bc_forwarding": "0",
    "bootp_relay": "0",
    "drop_gratuitous_arp": "0",
    "drop_unicast_in_l2_multicast": "0",
    "ignore_routes_with_linkdown": "0",
    "medium_id": "0",  # devices of one medium do not answer ARP for each other
    "proxy_arp": "0",  # except on ports
    "proxy_arp_pvlan": "0",  # an instance would get the reply that its own address is taken
    "route_localnet": "0",
    # nft checks sources per port, MAC included. A strict rp_filter would only add losses during a move: the instance's
    # packets come from its port while its /32 route still leads to the old host.
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
    ("netfilter/nf_conntrack_tcp_loose", "0"),  # a flow starts with a SYN: no pick-up of existing connections
    # The receiver checks its packets. A check in the host would read every byte, and drop all packets of UDP-Lite: the
    # kernel checks them as UDP. Source: nf_conntrack_proto_udp.c, udplite_error.
    ("netfilter/nf_conntrack_checksum", "0"),
    ("netfilter/nf_conntrack_acct", "1"),  # flow logs need packets and bytes
    ("netfilter/nf_conntrack_timestamp", "1"),  # and the start of a flow
    ("netfilter/nf_conntrack_udp_timeout_stream", "180"),  # as in EC2; the other timeouts are the kernel's
)

# For every namespace in which netorch routes.
_ROUTER_SYSCTLS: Final[tuple[Template, ...]] = (
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "1"),  # with IPv6 every device coming up walks all VRFs' tables: quadratic
    ("ipv6/conf/default/addr_gen_mode", "1"),  # none: no automatic addresses
    *((f"ipv4/conf/{which}/{name}", value) for which in ("all", "default") for name, value in DEVICE_V4.items()),
    *((f"ipv6/conf/default/{name}", value) for name, value in DEVICE_V6.items()),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
)

OVERLAY_SYSCTLS: Final[tuple[Template, ...]] = (
    *_ROUTER_SYSCTLS,
    # Without rp_filter the kernel still looks up each source, in case it is a local address. accept_local avoids this
    # second walk through rules and routes (fib_validate_source). nft is stricter: the source must be the sender's own.
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/ip_early_demux", "0"),  # no socket here receives packets, so a socket lookup before routing is wasted
    # Instances must not reach the host's own services. With udp_l3mdev_accept one could send VXLAN to its gateway's
    # address.
    ("ipv4/tcp_l3mdev_accept", "0"),
    ("ipv4/udp_l3mdev_accept", "0"),
    # All VPCs share the memory for fragments, each up to its share (docs/design/shares.md). The default is 4 MB. In a
    # data center the rest of a packet arrives at once or never; the kernel would wait 30 s, and 60 s for IPv6.
    ("ipv4/ipfrag_high_thresh", str(FRAGMENT_MEMORY)),
    ("ipv4/ipfrag_time", str(FRAGMENT_S)),
    ("netfilter/nf_conntrack_frag6_high_thresh", str(FRAGMENT_MEMORY)),
    ("netfilter/nf_conntrack_frag6_timeout", str(FRAGMENT_S)),
    # The kernel limits ICMP errors to a thousand a second over all namespaces. Errors of VPC routers return only to the
    # port that caused them, so they do not count towards the limit.
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/icmp/ratemask", "127"),  # a list of types that cannot be empty: a type that is never sent
    *_TRACKING_SYSCTLS,
)

# A namespace with public addresses. It is open to the internet, so the kernel's limits of ICMP errors apply.
OUTSIDE_SYSCTLS: Final = _ROUTER_SYSCTLS

# A gateway that tracks connections.
GATEWAY_SYSCTLS: Final[tuple[Template, ...]] = (
    *_ROUTER_SYSCTLS,
    *_TRACKING_SYSCTLS,
    # EC2 forgets a connection that was idle for 350 s. Source: VPC User Guide, NAT gateway basics. An unanswered
    # connection expires after the kernel's 30 s (KERNEL_DEFAULTS), so a client that only sends does not fill the table.
    ("netfilter/nf_conntrack_tcp_timeout_established", "350"),
    ("netfilter/nf_conntrack_udp_timeout_stream", "350"),
    # The memory for fragments belongs to one customer, and there may be many gateways (docs/design/shares.md).
    ("ipv4/ipfrag_high_thresh", str(GATEWAY_FRAGMENT_MEMORY)),
    ("ipv4/ipfrag_time", str(FRAGMENT_S)),
    ("netfilter/nf_conntrack_frag6_high_thresh", str(GATEWAY_FRAGMENT_MEMORY)),
    ("netfilter/nf_conntrack_frag6_timeout", str(FRAGMENT_S)),
    # For TCP, only packets of no connection are invalid, and get a reset. The receiver checks the window.
    ("netfilter/nf_conntrack_tcp_be_liberal", "1"),
)

# The defaults of a new namespace, written only if they were changed. A kernel may lack some, if connection tracking is
# not loaded yet or does not support a protocol. A missing sysctl cannot be wrong.
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

# Without solicitations a neighbour that is not set is unreachable: no solicitation is ever sent on the overlay.
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


# Of the protocols that may be offloaded. Linux also offloads GRE, but never corrects its timeout of a day afterwards.
# Source: net/netfilter/nf_flow_table_core.c, flow_offload_fixup_ct.
_IDLE_TIMEOUTS: Final = {
    TCP: "netfilter/nf_conntrack_tcp_timeout_established",
    UDP: "netfilter/nf_conntrack_udp_timeout_stream",
}

_OF_GATEWAY: Final = {**KERNEL_DEFAULTS, **dict(GATEWAY_SYSCTLS)}
_OF_SHARED: Final = {
    OVERLAY: {**dict(OVERLAY_SYSCTLS), **KERNEL_DEFAULTS},
    OUTSIDE: {**dict(OUTSIDE_SYSCTLS), **KERNEL_DEFAULTS},
}


def pinned(netns: str) -> Mapping[str, str]:
    """Return the sysctls of a namespace by path, with their values. A kernel may lack those of KERNEL_DEFAULTS."""
    return _OF_SHARED.get(netns, _OF_GATEWAY)


def idle_timeouts(netns: str) -> Mapping[int, int]:
    """Return the seconds without a packet after which established connections end in a namespace, by protocol."""
    values = pinned(netns)
    return {protocol: int(values[path]) for protocol, path in _IDLE_TIMEOUTS.items()}


def namespace_sysctls(netns: str = OVERLAY) -> Iterator[Sysctl]:
    """Yield a namespace's own sysctls, e.g. `namespace_sysctls(OUTSIDE)`."""
    vni = vni_of_netns(netns)
    return (Sysctl(netns=netns, vni=vni, path=path, value=value) for path, value in pinned(netns).items())


def device_sysctls(templates: tuple[Template, ...], ifname: str, vni: int, netns: str = OVERLAY) -> Iterator[Sysctl]:
    """Yield the sysctls of a device, e.g. `device_sysctls(PORT_V4, "v-001388abcdef0", 5000)`."""
    return (Sysctl(netns=netns, vni=vni, path=path.format(dev=ifname), value=value, ifname=ifname) for path, value in templates)
