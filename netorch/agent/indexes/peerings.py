"""Active peers of the VPCs that have something on this host: by native connections, or by mapped connections.

A host follows and carries the peers of its VPCs: packets to a peer's interface on another host leave by the peer's own VXLAN
device. The host goes no further: it does not follow the peers of a VPC that it carries only as a peer. An edge that carries a
mapped connection carries both VPCs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from netorch.model.routing.peering import PeeringConnection

_NOBODY: Final[frozenset[int]] = frozenset()
_NONE: Final[Mapping[int, str]] = {}


class Peerings:
    """The active connections of the VPCs that have something on this host, by VNI, in both directions."""

    def __init__(self) -> None:
        self._of: dict[int, dict[int, str]] = {}  # VNI -> VNI of a peer -> id of the connection
        self._peered_with: dict[int, set[int]] = {}  # VNI -> VNIs of the VPCs above that it is a peer of

    def of(self, vni: int) -> Mapping[int, str]:
        """Return the ids of the active connections of a VPC that has something on this host, by the peer's VNI."""
        return self._of.get(vni, _NONE)

    def peered_with(self, vni: int) -> Collection[int]:
        """Return the VPCs with something on this host that have this VPC as an active peer."""
        return self._peered_with.get(vni, _NOBODY)

    def update(self, vni: int, connections: Iterable[PeeringConnection]) -> list[int]:
        """Set a VPC's connections that count, none when it has nothing on this host; return the peers that came or went."""
        now = {found.peer_vni: found.id for found in connections}
        before = self._of.pop(vni, {})
        if now:
            self._of[vni] = now
        for peer in before.keys() - now.keys():
            self._peered_with[peer].discard(vni)
            if not self._peered_with[peer]:
                del self._peered_with[peer]
        for peer in now.keys() - before.keys():
            self._peered_with.setdefault(peer, set()).add(vni)
        return sorted(peer for peer in before.keys() | now.keys() if before.get(peer) != now.get(peer))
