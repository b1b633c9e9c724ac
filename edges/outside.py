"""The outside of an edge: a namespace with its uplink, in which addresses are public and nobody's VPC is.

    border --- uplink [outside: the host's main table] o-001388abcdef0 --- g-001388abcdef0 [overlay: vrf5000]

    0.0.0.0/0       via the border      whatever is nobody's here
    POOL            unreachable         a public address that stands for nothing now
    ADDRESS/32      by a VPC's cable    one that does (edges.internet)
    10.0.0.0/8 ...  unreachable         ranges that no network announces, so that they neither leave nor come

The outside is an ordinary router: it answers with ICMP errors in its own name, and the filters of the cables translate those to
instances. It tracks no connection.

Its nftables table says what passes, in a few rules whatever the number of VPCs:

* No transit: what comes by the uplink leaves by a cable, or not at all.
* A packet's source must be one to which a route leads by the device that the packet came by. So by a cable only the VPC's own
  public addresses leave, as they are translated now, and by the uplink no public address of this pair comes in, and none that no
  network announces. Source: RFC 3704 section 2.2, nft(8) FIB EXPRESSIONS.
* For the edge itself are pings, at a bounded rate, and by the uplink what resolves its IPv6 address. A VPC's instances get no
  further than the internet does.
* BGP and BFD are for the edge, too, from the router that it has a session with (edges.bgp), by the uplink.

What is not in force leaves nothing open: without the table the namespace's first packet has no route, because the table comes
before the uplink is up, and the agent applies no VPC while the host's own objects are not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import Carried, HostPart, HostView, Part, ipv6_next_hop
from netorch.errors import CompileError
from netorch.model.eni import Role, Uplink
from netorch.state import link
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import IPV6_METRIC, MAIN_TABLE, UNREACHABLE, UNREACHABLE_METRIC, Address, Route
from netorch.state.link import LOOPBACK, OUTSIDE_GROUP, AdminUp
from netorch.state.netns import Namespace
from netorch.state.nft import NftTable
from netorch.state.sysctls import CABLE_V6, device_sysctls, namespace_sysctls

# What no network announces, of what Linux would route. Source: RFC 6890; RFC 1918, 6598, 3927, 1112 section 4, 4193.
BOGONS: Final = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "240.0.0.0/4", "fc00::/7")

OUTSIDE_INET: Final = """
set routers {
    type ipv4_addr
}
counter outside_transit {
}
counter outside_source {
}
counter gateway_source {
}
counter to_edge {
}
chain forward {
    type filter hook forward priority 0; policy drop;
    iifgroup != CABLES oifgroup != CABLES counter name "outside_transit" drop
    fib saddr . iif oif missing goto foreign_source
    accept
}
chain foreign_source {
    iifgroup CABLES counter name "gateway_source" drop
    counter name "outside_source" drop
}
chain input {
    type filter hook input priority 0; policy drop;
    icmp type echo-request limit rate 100/second burst 100 packets accept
    icmpv6 type echo-request limit rate 100/second burst 100 packets accept
    iifgroup != CABLES icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    iifgroup != CABLES ip saddr @routers tcp dport 179 accept
    iifgroup != CABLES ip saddr @routers tcp sport 179 accept
    iifgroup != CABLES ip saddr @routers udp dport 3784 ip ttl 255 accept
    meta pkttype { broadcast, multicast } drop
    counter name "to_edge" drop
}
""".replace("CABLES", hex(OUTSIDE_GROUP))


def outside_table() -> NftTable:
    """Return the table that lets pass what is between the internet and gateways, and nothing else."""
    return NftTable(netns=OUTSIDE, family="inet", body=OUTSIDE_INET)


def _outside(view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the outside of an edge that has an uplink. Raises CompileError when that is the underlay's device."""
    uplink = view.host.uplink
    if uplink is None:
        return
    if uplink.device == view.underlay_ifname:
        what = f"the uplink {uplink.device} is the device of the underlay, which the host cannot do without"
        raise CompileError(f"edge {view.host.name}: {what}; delete the host and create it again with another --uplink")
    yield Namespace(label=OUTSIDE)
    yield from namespace_sysctls(OUTSIDE)
    yield outside_table()
    yield AdminUp(netns=OUTSIDE, ifname=LOOPBACK)
    yield from _uplink(uplink)
    pools = [cidr for pool in view.pools for cidr in pool.cidrs]
    for prefix in (*BOGONS, *pools):
        yield _route(prefix, type=UNREACHABLE, metric=UNREACHABLE_METRIC)


def _uplink(uplink: Uplink) -> Iterator[KernelObject]:
    """Yield the device, its addresses, and the way to the border."""
    device = uplink.device
    yield link.Uplink(ifname=device)
    yield link.Settings(netns=OUTSIDE, ifname=device)
    yield Address(netns=OUTSIDE, ifname=device, address=uplink.address)
    yield AdminUp(netns=OUTSIDE, ifname=device)
    yield _route("0.0.0.0/0", ifname=device, via=uplink.gateway)
    if uplink.ipv6_address:
        yield from device_sysctls(CABLE_V6, device, 0, OUTSIDE)
        for address in (_link_local(uplink), uplink.ipv6_address):
            yield Address(netns=OUTSIDE, ifname=device, address=address)
    if uplink.ipv6_gateway:
        yield _route("::/0", ifname=device, via=uplink.ipv6_gateway, metric=IPV6_METRIC)


def _link_local(uplink: Uplink) -> str:
    """Return the uplink's link-local address: Linux resolves the border's for packets of others from such a one only.

    It has the IPv4 address in it, so it is unique on the link. Source: net/ipv6/ndisc.c, ndisc_send_ns.
    """
    return f"{ipv6_next_hop(uplink.address.partition('/')[0])}/64"


def _route(dst: str, *, ifname: str = "", via: str = "", metric: int = 0, type: str = "unicast") -> Route:
    return Route(netns=OUTSIDE, table=MAIN_TABLE, dst=dst, ifname=ifname, via=via, metric=metric, type=type)


class Outside:
    """Yields the outside namespace of an edge."""

    name: Final = "outside"
    reads: Final[frozenset[type]] = frozenset()
    parts: Final[tuple[Part, ...]] = (HostPart(id="outside.host", compile=_outside, role=Role.EDGE),)
