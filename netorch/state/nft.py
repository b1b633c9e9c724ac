"""nftables: whole tables (host-wide skeletons, as text), and what a VPC adds: elements of sets and maps, chains of its ports."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import ClassVar

from netorch.state.base import HOST_SLICE, KernelObject, Key, Rank, slice_of_ifname
from netorch.state.link import link_key


class Scope(Enum):
    """Which of a host's two namespaces a table stands in."""

    UNDERLAY = "underlay"
    FABRIC = "fabric"


class NftTable(KernelObject, frozen=True, kw_only=True, tag=True):
    """A table named `netorch`: its sets, maps, counters, chains and rules, without elements.

    `text` is what stands between the braces. A changed text replaces the table and puts all elements back in one transaction.
    A kernel does not keep texts: a dump has the text's `digest` in its place, or nothing when the table was altered.
    """

    in_place: ClassVar[bool] = True

    scope: Scope
    family: str  # ip, inet, arp, netdev
    text: str

    @property
    def digest(self) -> str:
        """Return what stands for the text in a kernel."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    def matches(self, actual: KernelObject) -> bool:
        return isinstance(actual, NftTable) and actual.text in (self.text, self.digest)

    @property
    def key(self) -> Key:
        return ("nft-table", self.scope.value, self.family)

    @property
    def rank(self) -> int:
        return Rank.NFT_TABLE

    @property
    def slice_id(self) -> int:
        return HOST_SLICE


class PortChain(KernelObject, frozen=True, kw_only=True, tag=True):
    """A chain at the ingress of one port: what comes from its instance passes these rules before the kernel looks at it.

    It stands in the fabric's netdev table, has the device's name, and goes with the device; its policy is to drop. The rules are
    in the words of `nft list` but for quotes and leading zeros, so that a dump gives them back.
    """

    in_place: ClassVar[bool] = True

    ifname: str
    rules: tuple[str, ...]

    @property
    def key(self) -> Key:
        return ("nft-chain", self.ifname)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname)

    @property
    def rank(self) -> int:
        return Rank.NFT_CHAIN

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class NftElement(KernelObject, frozen=True, kw_only=True, tag=True):
    """An element of a set, or of a map when it has a `value`.

    `items` are the parts of the (concatenated) key in nft's own notation: names, addresses, MACs; numbers in hexadecimal.
    `vni` is part of the key of every element, see `vni_of_items`, and is kept apart for speed.
    """

    in_place: ClassVar[bool] = True

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


def vni_of_items(items: Sequence[str]) -> int:
    """Return the VNI in an element's key: in a device's name that comes first, or in a VXLAN header that comes second.

    HOST_SLICE for what has neither. Source: RFC 7348 section 5: a word of flags, then 24 bits of VNI and 8 reserved ones.
    """
    vni = slice_of_ifname(items[0])
    if vni == HOST_SLICE and len(items) > 2 and items[2].startswith("0x"):
        vni = int(items[2], 16) >> 8 & 0xFFFFFF
    return vni
