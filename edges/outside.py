"""The outside of an edge: a namespace with its uplink and public addresses, separate from all VPCs.

    border --- uplink [outside: the host's main table] o-001388abcdef0 --- g-001388abcdef0 [overlay: vrf5000]

    0.0.0.0/0       via the border      everything else
    POOL            unreachable         public addresses that are not in use
    ADDRESS/32      by a VPC's cable    public addresses in use (edges.internet)
    10.0.0.0/8 ...  unreachable         ranges that are never announced, so that their packets neither leave nor enter

The outside is an ordinary router: it sends ICMP errors from its own address, and the filters of the cables translate errors
for instances. It tracks no connections.

Its nftables tables decide which packets pass, and to whom the edge answers: edges.outside_rules.

Missing objects leave nothing open: the tables are created before the uplink is up, so without them no packet has a route, and
the agent programs no VPC until the host's own objects exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edges.outside_rules import BOGONS, outside_tables
from netorch.compiler.base import Carried, HostPart, HostView, Part, ipv6_next_hop
from netorch.errors import CompileError
from netorch.model.eni import Role, Uplink
from netorch.state import link
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import IPV6_METRIC, MAIN_TABLE, UNREACHABLE, UNREACHABLE_METRIC, Address, Route
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.netns import Namespace
from netorch.state.sysctls import CABLE_V6, device_sysctls, namespace_sysctls


def _outside(view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the outside of an edge with an uplink. Raises CompileError if the uplink is the underlay's device."""
    uplink = view.host.uplink
    if uplink is None:
        return
    if uplink.device == view.underlay_ifname:
        what = f"the uplink {uplink.device} is the device of the underlay, which the host cannot do without"
        fix = f"drain it and give it another one: netorch host update {view.host.name} --uplink"
        raise CompileError(f"edge {view.host.name}: {what}; {fix}")
    yield Namespace(label=OUTSIDE)
    yield from namespace_sysctls(OUTSIDE)
    pools = [cidr for pool in view.pools for cidr in pool.cidrs]
    yield from outside_tables(uplink, pools)
    yield AdminUp(netns=OUTSIDE, ifname=LOOPBACK)
    yield from _uplink(uplink)
    for prefix in (*BOGONS, *pools):
        yield _route(prefix, type=UNREACHABLE, metric=UNREACHABLE_METRIC)


def _uplink(uplink: Uplink) -> Iterator[KernelObject]:
    """Yield the device, its addresses, and the routes to the border."""
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
    """Return the uplink's link-local address: from no other does Linux resolve the border router for forwarded packets.

    It contains the IPv4 address, so it is unique on the link. Source: net/ipv6/ndisc.c, ndisc_send_ns.
    """
    return f"{ipv6_next_hop(uplink.address.partition('/')[0])}/64"


def _route(dst: str, *, ifname: str = "", via: str = "", metric: int = 0, type: str = "unicast") -> Route:
    return Route(netns=OUTSIDE, table=MAIN_TABLE, dst=dst, ifname=ifname, via=via, metric=metric, type=type)


class Outside:
    """Yields the outside namespace of an edge."""

    name: Final = "outside"
    reads: Final[frozenset[type]] = frozenset()
    parts: Final[tuple[Part, ...]] = (HostPart(id="outside.host", compile=_outside, role=Role.EDGE),)
