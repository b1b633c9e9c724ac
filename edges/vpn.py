"""VPN on an edge: the gateway's networks elsewhere, and the tunnels that lead to them."""

from __future__ import annotations

from typing import Final

from netorch.compiler.base import Part
from netorch.model.mapping import Reach
from netorch.model.outside.vpn import VirtualPrivateGateway, VpnConnection


class Vpn:
    """Yields what an edge holds of virtual private gateways and VPN connections."""

    name: Final = "vpn"
    reads: Final[frozenset[type]] = frozenset({VirtualPrivateGateway, VpnConnection, Reach})
    parts: Final[tuple[Part, ...]] = ()
