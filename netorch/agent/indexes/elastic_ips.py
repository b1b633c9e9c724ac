"""Elastic IPs in use, by VPC: an edge counts only their packets."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from netorch.model.mapping import PublicMapping

_NONE: Final[frozenset[str]] = frozenset()


class ElasticIps:
    """The elastic IPs of the known VPCs."""

    def __init__(self) -> None:
        self._of: dict[int, set[str]] = {}  # VNI -> addresses

    def vnis(self) -> Set[int]:
        """Return the VPCs with elastic IPs, as a live view."""
        return self._of.keys()

    def of(self, vni: int) -> Set[str]:
        """Return the elastic IPs of a VPC."""
        return self._of.get(vni, _NONE)

    def update(self, vni: int, before: PublicMapping | None, after: PublicMapping | None) -> None:
        """Record the current mapping of a public address, elastic or not."""
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
