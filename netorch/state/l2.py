"""Layer 2: the forwarding database of a VXLAN device."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import Key, OnDevice
from netorch.state.order import Order


class Fdb(OnDevice, frozen=True, kw_only=True):
    """The VTEP of a router MAC: the outer destination of a VXLAN packet. Source: bridge(8), RFC 7348 section 4."""

    kind: ClassVar[str] = "fdb"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.FDB

    lladdr: str
    dst: str
    strange: str = ""  # attributes in a kernel's dump that netorch never sets, e.g. a port

    @property
    def key(self) -> Key:
        return ("fdb", self.netns, self.ifname, self.lladdr)

    def text(self) -> str:
        return f"fdb {self.lladdr} dst {self.dst}{f' {self.strange}' if self.strange else ''} dev {self.ifname}"
