"""nftables: whole tables (host-wide skeletons, as text) and the elements of their sets and maps (what a VPC adds)."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from netorch.state.base import HOST_SLICE, KernelObject, Key, Rank


class Scope(Enum):
    """Which of a host's two namespaces a table stands in."""

    UNDERLAY = "underlay"
    FABRIC = "fabric"


class NftTable(KernelObject, frozen=True, kw_only=True, tag=True):
    """A table named `netorch`: its sets, maps, counters, chains and rules, without elements.

    `text` is what stands between the braces. A changed text replaces the table and puts all elements back in one transaction.
    """

    in_place: ClassVar[bool] = True

    scope: Scope
    family: str  # inet, arp, netdev
    text: str

    @property
    def key(self) -> Key:
        return ("nft-table", self.scope.value, self.family)

    @property
    def rank(self) -> int:
        return Rank.NFT_TABLE

    @property
    def slice_id(self) -> int:
        return HOST_SLICE


class NftElement(KernelObject, frozen=True, kw_only=True, tag=True):
    """An element of a set, or of a map when it has a `value`.

    `items` are the parts of the (concatenated) key in nft's own notation: names, addresses, MACs, numbers.
    `vni` is part of the key of every element, by an item or by a device's name, and is kept apart for speed.
    """

    scope: Scope
    family: str
    set: str
    items: tuple[str, ...]
    vni: int
    value: str = ""

    @property
    def key(self) -> Key:
        return ("nft-element", self.scope.value, self.family, self.set, *self.items)

    @property
    def parent(self) -> Key | None:
        return ("nft-table", self.scope.value, self.family)

    @property
    def rank(self) -> int:
        return Rank.NFT_ELEMENT

    @property
    def slice_id(self) -> int:
        return self.vni
