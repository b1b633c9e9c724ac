"""The sysctls that netorch sets, below /proc/sys/net in the fabric namespace: one list for compilers and drivers.

A driver's dump shows exactly these. `{dev}` stands for a device's name. The lists ending in V6 hold for devices of dual-stack
VPCs only; a dump shows them while IPv6 is enabled on the device, and deleting the device's `disable_ipv6` disables it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.state.link import Sysctl

Template = tuple[str, str]  # path, value

FRAGMENT_MEMORY: Final = 512 << 20  # bytes, for each IP version; used by who sends fragments only
FRAGMENT_S: Final = 2

FABRIC: Final[tuple[Template, ...]] = (
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),  # with IPv6 every device coming up walks all VRFs' tables: quadratic
    ("ipv6/conf/default/addr_gen_mode", "1"),  # none: no address that nobody asked for
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv4/conf/all/send_redirects", "0"),  # in effect when either `all` or the device says so, hence both
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/accept_source_route", "0"),
    # Sources are checked per port by nft, MAC included. A strict rp_filter would add nothing but losses during a move, while
    # the instance's packets come from its port and its /32 route still leads to the old host.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    # Without rp_filter the kernel still looks each source up, in case it is one of our own addresses; accept_local spares that
    # second walk through rules and routes (fib_validate_source). nft is stricter: the source is exactly the sender's own.
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/ip_early_demux", "0"),  # no socket here waits for packets, so looking for one before routing is in vain
    # The host's own services are not for instances; with udp_l3mdev_accept one could send VXLAN to its gateway's address.
    ("ipv4/tcp_l3mdev_accept", "0"),
    ("ipv4/udp_l3mdev_accept", "0"),
    # All VPCs share the memory of fragments, and each has a part of it (docs/design/shares.md). It is 4 MB otherwise. On a fabric
    # the rest of a packet comes at once or never; the kernel would wait 30 s, and 60 s for IPv6.
    ("ipv4/ipfrag_high_thresh", str(FRAGMENT_MEMORY)),
    ("ipv4/ipfrag_time", str(FRAGMENT_S)),
    ("netfilter/nf_conntrack_frag6_high_thresh", str(FRAGMENT_MEMORY)),
    ("netfilter/nf_conntrack_frag6_timeout", str(FRAGMENT_S)),
    ("netfilter/nf_conntrack_tcp_loose", "0"),  # a flow begins with a SYN: nobody picks one up in the middle
    # The receiver checks what it gets. Here it would cost a look at every byte on each host, and no packet of UDP-Lite would
    # pass: the kernel takes its checksum for one of UDP. Source: nf_conntrack_proto_udp.c, udplite_error.
    ("netfilter/nf_conntrack_checksum", "0"),
    ("netfilter/nf_conntrack_acct", "1"),  # flow logs tell packets and bytes
    ("netfilter/nf_conntrack_timestamp", "1"),  # and when a flow began
    ("netfilter/nf_conntrack_udp_timeout_stream", "180"),  # EC2's; its other timeouts are the kernel's own
)

PORT_V4: Final[tuple[Template, ...]] = (
    ("ipv4/conf/{dev}/proxy_arp", "1"),
    ("ipv4/neigh/{dev}/proxy_delay", "0"),  # otherwise each answer waits up to 0.8 s
)

PORT_V6: Final[tuple[Template, ...]] = (("ipv6/conf/{dev}/disable_ipv6", "0"),)

# Without solicitations a neighbour that we have not set is unreachable: nothing is ever asked on the fabric.
VXLAN_V4: Final[tuple[Template, ...]] = (
    ("ipv4/neigh/{dev}/mcast_solicit", "0"),
    ("ipv4/neigh/{dev}/ucast_solicit", "0"),
)

VXLAN_V6: Final[tuple[Template, ...]] = (
    ("ipv6/conf/{dev}/disable_ipv6", "0"),
    ("ipv6/neigh/{dev}/mcast_solicit", "0"),
    ("ipv6/neigh/{dev}/ucast_solicit", "0"),
)

VRF_V6: Final[tuple[Template, ...]] = (("ipv6/conf/{dev}/disable_ipv6", "0"),)


def host_sysctls() -> Iterator[Sysctl]:
    """Yield the namespace's own sysctls."""
    return (Sysctl(path=path, value=value) for path, value in FABRIC)


def device_sysctls(templates: tuple[Template, ...], ifname: str) -> Iterator[Sysctl]:
    """Yield a device's sysctls, e.g. `device_sysctls(PORT_V4, "v-001388abcdef0")`."""
    return (Sysctl(path=path.format(dev=ifname), value=value, ifname=ifname) for path, value in templates)
