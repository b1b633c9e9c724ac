"""Layer 2: the forwarding database of a VXLAN device."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import KernelObject, Key, Rank, slice_of_ifname
from netorch.state.link import link_key


class Fdb(KernelObject, frozen=True, kw_only=True, tag=True):
    """A router MAC's VTEP: the outer destination of a VXLAN packet. Source: bridge(8), RFC 7348 section 4."""

    in_place: ClassVar[bool] = True

    ifname: str
    lladdr: str
    dst: str
    strange: str = ""  # what a kernel shows of it and ours never have, e.g. a port

    @property
    def key(self) -> Key:
        return ("fdb", self.ifname, self.lladdr)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname)

    @property
    def rank(self) -> int:
        return Rank.FDB

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)
