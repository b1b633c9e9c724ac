"""What an edge knows of its ends of VPN connections and virtual interfaces: what is sealed for it, and which tunnels are up."""

from __future__ import annotations

from collections.abc import Set
from contextlib import suppress

from netorch.errors import UnreadableRecord
from netorch.model.ids import is_id, vni_of
from netorch.model.status import Sealed
from netorch.records.codec import decode_value


class PrivateEnds:
    """Of all VPCs on this host."""

    def __init__(self) -> None:
        self.secrets: dict[str, Sealed] = {}  # by the id of what they are for
        self.up: frozenset[str] = frozenset()  # the names of tunnels that carry packets

    def update(self, key: str, value: bytes | None) -> int | None:
        """Take in what is sealed for this host, and return the VNI of what it is for; what cannot be read counts as not there."""
        resource_id = key.rpartition("/")[2]
        self.secrets.pop(resource_id, None)
        if value is not None:
            with suppress(UnreadableRecord):
                self.secrets[resource_id] = decode_value(key, value, Sealed)
        return vni_of(resource_id) if is_id(resource_id) else None

    def set_up(self, names: Set[str]) -> set[int]:
        """Take in which tunnels are up now; return the VNIs of those of which that has changed."""
        changed, self.up = self.up ^ names, frozenset(names)
        return {vni_of(name.rpartition("-")[0]) for name in changed}
