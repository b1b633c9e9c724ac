"""An edge's ends of VPN connections and virtual interfaces.

These are the virtual private gateways that the edge carries, the secrets sealed for the edge, and the tunnels that are up.
"""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress

from netorch.errors import UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.mapping import GatewayMapping
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import TargetKind
from netorch.model.status import Sealed
from netorch.records.codec import decode_value


class PrivateEnds:
    """The ends of all VPCs on this host."""

    def __init__(self, host: str) -> None:
        self.gateways: dict[int, str] = {}  # VNI -> the virtual private gateway that has a seat on this host
        self._host = host
        self.secrets: dict[str, Sealed] = {}  # by the id of the resource that they are for
        self.invites = True  # whether sites learn the ranges of VPCs; not from an edge that cannot forward packets to the VPCs
        self.up: frozenset[str] = frozenset()  # names of tunnels that carry packets, ids of interfaces whose port has a carrier

    def update(self, key: str, value: bytes | None) -> int | None:
        """Record a secret sealed for this host; return the VNI of its resource. An unreadable secret counts as missing."""
        resource_id = key.rpartition("/")[2]
        self.secrets.pop(resource_id, None)
        if value is not None:
            with suppress(UnreadableRecord):
                self.secrets[resource_id] = decode_value(key, value, Sealed)
        return vni_of(resource_id) if is_id(resource_id) else None

    def update_gateway(self, vni: int, gateway: str, mapping: GatewayMapping | None) -> None:
        """Record a gateway's mapping, or its removal."""
        if gateway_kind(gateway) is not TargetKind.VPN_GATEWAY:
            return
        if mapping is not None and any(seat.host == self._host for seat in mapping.seats):
            self.gateways[vni] = gateway
        else:
            self.gateways.pop(vni, None)

    def set_up(self, names: Set[str], *, invites: bool) -> set[int]:
        """Record which tunnels and interfaces are up, and whether sites may send to this host; return the changed VNIs."""
        changed, self.up = self.up ^ names, frozenset(names)
        others, self.invites = self.gateways if invites != self.invites else (), invites
        return {_vni_of(name) for name in changed}.union(others)


def _vni_of(name: str) -> int:
    """Return the VNI in an id, or in the name of a tunnel, which is an id, a dash and a number."""
    return vni_of("-".join(name.split("-")[:2]))
