"""Routes to public addresses, announced to the border router: each edge of a pair announces each pool of the pair as a whole.

An edge announces them while it is ready, as seen by hypervisors (edges.readiness), or only lacks a session that was up
before; but not before all VPCs are programmed, and not while it is drained. So the router has the routes as soon as a session
is back.

An edge whose uplink has no AS numbers announces nothing. The border router then needs static routes to it, and does not
detect its failure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import Carried, HostPart, HostView, Part
from netorch.model.addr import parse_prefix
from netorch.model.eni import Role, Uplink
from netorch.state.base import BORDER_SLICE, OUTSIDE, KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer
from netorch.state.nft import ROUTERS, NftElement


def _admitted(view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the set element by which the outside's table accepts BGP and BFD."""
    uplink = _speaking(view)
    if uplink is not None:
        yield NftElement(netns=OUTSIDE, family="inet", set=ROUTERS, items=(uplink.gateway,))


def _announced(view: HostView, _carried: Carried) -> Iterator[KernelObject]:
    """Yield the session with the border router, and its announcements: none while the edge is not ready, or drained."""
    uplink = _speaking(view)
    if uplink is None:
        return
    local6 = _address(uplink.ipv6_address)
    yield BgpPeer(
        local=_address(uplink.address),
        local_asn=uplink.asn,
        remote=uplink.gateway,
        remote_asn=uplink.gateway_asn,
        local6=local6,
    )
    pools = view.pools if view.announces else ()
    for prefix in (parse_prefix(cidr) for pool in pools for cidr in pool.cidrs):
        if prefix.version == 4 or local6:
            yield Announcement(prefix=str(prefix))


def _speaking(view: HostView) -> Uplink | None:
    """Return the host's uplink if it uses BGP."""
    uplink = view.host.uplink
    return uplink if uplink is not None and uplink.speaks_bgp else None


def _address(text: str) -> str:
    """Return an address without its prefix length."""
    return text.partition("/")[0]


class Bgp:
    """Yields an edge's announcements to the border router."""

    name: Final = "bgp"
    reads: Final[frozenset[type]] = frozenset()
    parts: Final[tuple[Part, ...]] = (
        HostPart(id="bgp.host", compile=_admitted, role=Role.EDGE),
        HostPart(id="bgp", compile=_announced, role=Role.EDGE, slice=BORDER_SLICE),
    )
