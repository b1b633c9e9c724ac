"""Virtual interfaces of Direct Connect on the edge that has the port."""

from __future__ import annotations

from typing import Final

from netorch.compiler.base import Part
from netorch.model.outside.direct_connect import VirtualInterface


class DirectConnect:
    """Yields the VLANs by which customers' routers reach their VPCs."""

    name: Final = "direct_connect"
    reads: Final[frozenset[type]] = frozenset({VirtualInterface})
    parts: Final[tuple[Part, ...]] = ()
