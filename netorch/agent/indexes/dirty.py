"""What must be done because records changed."""

from __future__ import annotations

import msgspec

from netorch.model.mapping import Mapping


class Dirty(msgspec.Struct, kw_only=True):
    """What must be done because records changed. `mappings` maps (vni, address) to the mapping that was compiled before."""

    host: bool = False
    kinds: dict[int, set[type]] = msgspec.field(default_factory=dict)  # VNI -> the kinds of its changed records
    mappings: dict[tuple[int, str], Mapping | None] = msgspec.field(default_factory=dict)
    terminations: set[tuple[int, str]] = msgspec.field(default_factory=set)  # (VNI, group) whose connections must end
    handed_over: set[str] = msgspec.field(default_factory=set)  # interfaces whose connections have arrived
    ended: set[tuple[int, str]] = msgspec.field(default_factory=set)  # (VNI, address) whose connections in the VPC must end

    def mark(self, vni: int, *kinds: type) -> None:
        """Mark records of a VPC as changed; `Phase` stands for the place of its interfaces, `Identity` for their groups."""
        self.kinds.setdefault(vni, set()).update(kinds)
