"""Metrics of the routes in a virtual private gateway's VRF on an edge. They encode a route's source and its preference.

Linux prefers the lowest metric, so these ranges are in EC2's order of preference. Each constant is the start of a range.
"""

from __future__ import annotations

from typing import Final

from netorch.model.routing.effective import Origin

DX_STATIC: Final = 500
DX_BGP: Final = 1000  # plus the AS path length, as with VPN_BGP
VPN_STATIC: Final = 2000
VPN_BGP: Final = 3000
_END: Final = 4000


def origin_of(metric: int) -> tuple[Origin, int] | None:
    """Return the origin of a route with a metric, and its AS path length; None for a route that leads to no remote site."""
    if not DX_STATIC <= metric < _END:
        return None
    if metric < DX_BGP:
        return Origin.DIRECT_CONNECT, 0
    if metric < VPN_STATIC:
        return Origin.DIRECT_CONNECT, metric - DX_BGP
    return (Origin.VPN_STATIC, 0) if metric < VPN_BGP else (Origin.VPN_BGP, metric - VPN_BGP)
