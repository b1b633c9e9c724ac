"""Peering connections as a vpc.yaml declares them."""

from __future__ import annotations

from collections.abc import Mapping

from netorch.model.cloud import PeeringDecl
from netorch.model.routing.peering import PeeringConnection
from netorch.records.vpc import VpcRecords


def declared_peerings(records: VpcRecords, now: float, paths: Mapping[str, str]) -> list[PeeringDecl]:
    """Return the live connections that the VPC has a name for: all that it requested, and others that it named."""
    found = sorted(records.each(PeeringConnection), key=lambda half: half.name)
    live = [half for half in found if half.name and half.is_live(now)]
    return [
        PeeringDecl(
            name=half.name,
            peer=paths.get(half.peer.id, half.peer.id),
            map_own=f"{half.own.range}={half.own.alias}" if half.is_mapped else "",
            map_peer=f"{half.peer.range}={half.peer.alias}" if half.is_mapped else "",
            tags=half.tags,
        )
        for half in live
    ]
