"""Foreign objects in netorch's namespaces: they are reported to people and never touched."""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import OVERLAY, KernelObject, Key


class Foreign(KernelObject, frozen=True, kw_only=True):
    """A rule, route, device, qdisc, program or table that is not netorch's. Never wanted, never deleted.

    The namespace is netorch's alone, so a foreign object may stop packets or let them pass: netorch cannot know its
    purpose.
    """

    kind: ClassVar[str] = "foreign"
    ours: ClassVar[bool] = False

    what: str  # e.g. `rule pref 500 lookup 77`; equal texts are the same object

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.what)

    @property
    def order(self) -> int:
        raise TypeError(f"{self.what} is not netorch's to make or remove")

    def text(self) -> str:
        return self.what if self.netns == OVERLAY else f"{self.what} in {self.netns}"


class ForeignTable(Foreign, frozen=True, kw_only=True):
    """A foreign table of nftables."""

    kind: ClassVar[str] = "nft-foreign"
