"""What a change of records asks for."""

from __future__ import annotations

import msgspec

from netorch.model.mapping import Mapping


class Dirty(msgspec.Struct, kw_only=True):
    """What a change of records asks for. `mappings` maps (vni, address) to the mapping that was compiled before."""

    host: bool = False
    kinds: dict[int, set[type]] = msgspec.field(default_factory=dict)  # VNI -> the kinds of its records that changed
    mappings: dict[tuple[int, str], Mapping | None] = msgspec.field(default_factory=dict)
    terminations: set[tuple[int, str]] = msgspec.field(default_factory=set)  # (VNI, group) of which connections are to end
    handed_over: set[str] = msgspec.field(default_factory=set)  # interfaces whose connections have come
    ended: set[tuple[int, str]] = msgspec.field(default_factory=set)  # (VNI, address) of which a VPC's connections are to end

    def mark(self, vni: int, *kinds: type) -> None:
        """Note that records of a VPC have changed; `Phase` stands for where its interfaces are, `Identity` for their groups."""
        self.kinds.setdefault(vni, set()).update(kinds)
