"""Which conntrack zone stands for which VPC on this host: connections of two VPCs may have the same addresses and ports.

A zone has 16 bits, a VNI 24, so the number is the host's own choice. It is remembered in the kernel (the map `zone`), from where
a restarted agent learns it: with another number, every connection of the VPC would be a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping

from netorch.errors import CompileError
from netorch.state.base import KernelObject
from netorch.state.nft import ZONES, NftElement

ZONE_LAST = 0xFFFF


class Zones:
    """The numbers in use; a freed one comes again as late as possible."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self._last = 0

    def learn(self, obj: KernelObject) -> None:
        """Note what the kernel holds, unless it contradicts what is known already."""
        if isinstance(obj, NftElement) and obj.set == ZONES and obj.vni not in self._of and obj.value:
            zone = int(obj.value, 0)
            if zone not in self._taken and 1 <= zone <= ZONE_LAST:
                self._take(obj.vni, zone)

    def of(self, vni: int) -> int:
        """Return a VPC's zone, chosen now if it has none. Raises CompileError when all are taken."""
        if vni not in self._of:
            if len(self._taken) == ZONE_LAST:
                raise CompileError(f"conntrack: all {ZONE_LAST} zones of this host are in use; move some VPCs to other hosts")
            zone = self._last % ZONE_LAST + 1
            while zone in self._taken:
                zone = zone % ZONE_LAST + 1
            self._take(vni, zone)
        return self._of[vni]

    def vnis(self) -> Mapping[int, int]:
        """Return the VPCs by zone."""
        return self._taken

    def free(self, vni: int) -> None:
        """Give a VPC's zone back; the kernel forgets its connections when the zone's element is removed."""
        self._taken.pop(self._of.pop(vni, 0), None)

    def _take(self, vni: int, zone: int) -> None:
        self._of[vni] = zone
        self._taken[zone] = vni
        self._last = zone
