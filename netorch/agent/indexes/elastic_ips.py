"""The elastic IPs that stand for something, by VPC: an edge counts packets of these only."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from netorch.model.mapping import PublicMapping

_NONE: Final[frozenset[str]] = frozenset()


class ElasticIps:
    """Which VPCs of those known have elastic IPs, and which these are."""

    def __init__(self) -> None:
        self._of: dict[int, set[str]] = {}  # VNI -> addresses

    def vnis(self) -> Set[int]:
        """Return the VPCs with elastic IPs, as a view that changes."""
        return self._of.keys()

    def of(self, vni: int) -> Set[str]:
        """Return the elastic IPs of a VPC."""
        return self._of.get(vni, _NONE)

    def update(self, vni: int, before: PublicMapping | None, after: PublicMapping | None) -> None:
        """Take in what a public address stands for now, elastic or not."""
        addresses = self._of.setdefault(vni, set())
        if before is not None:
            addresses.discard(before.address)
        if after is not None and after.allocation:
            addresses.add(after.address)
        if not addresses:
            del self._of[vni]

    def forget(self, vni: int) -> None:
        """Forget a VPC."""
        self._of.pop(vni, None)
