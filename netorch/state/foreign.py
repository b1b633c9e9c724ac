"""What stands in the fabric namespace and is not netorch's: it is named to people and never touched."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import HOST_SLICE, KernelObject, Key


class Foreign(KernelObject, frozen=True, kw_only=True, tag=True):
    """A rule, route, device, qdisc, program or table of somebody else's. Never asked for, never removed.

    The namespace is netorch's alone, so such a thing may stop packets or let them past: netorch cannot know what it is for.
    """

    ours: ClassVar[bool] = False

    text: str  # e.g. `rule pref 500 lookup 77`; the same text is the same thing
    nft: bool = False  # whether a dump of nftables alone shows it

    @property
    def key(self) -> Key:
        return ("nft-foreign" if self.nft else "foreign", self.text)

    @property
    def rank(self) -> int:
        raise TypeError(f"{self.text} is not netorch's to make or remove")

    @property
    def slice_id(self) -> int:
        return HOST_SLICE
