"""What is in a namespace of netorch's and is not netorch's: it is named to people and never touched."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import OVERLAY, KernelObject, Key


class Foreign(KernelObject, frozen=True, kw_only=True):
    """A rule, route, device, qdisc, program or table of somebody else's. Never asked for, never removed.

    The namespace is netorch's alone, so such a thing may stop packets or let them past: netorch cannot know what it is for.
    """

    kind: ClassVar[str] = "foreign"
    ours: ClassVar[bool] = False

    what: str  # e.g. `rule pref 500 lookup 77`; the same text is the same thing

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.what)

    @property
    def order(self) -> int:
        raise TypeError(f"{self.what} is not netorch's to make or remove")

    def text(self) -> str:
        return self.what if self.netns == OVERLAY else f"{self.what} in {self.netns}"


class ForeignTable(Foreign, frozen=True, kw_only=True):
    """A table of nftables that is somebody else's."""

    kind: ClassVar[str] = "nft-foreign"
