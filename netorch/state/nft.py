"""nftables: whole tables (host-wide skeletons, as text), and what a VPC adds: elements of sets and maps, chains of its ports."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import ClassVar, Final

import msgspec

from netorch.state.base import HOST_SLICE, KernelObject, Key, Rank, slice_of_ifname, slice_of_nft_name
from netorch.state.link import link_key

VPC_TABLE: Final[Key] = ("nft-table", "fabric", "inet")  # where the chains and sets of VPCs stand
BORDER: Final = "border-"  # names of chains that lead to other chains of their VPC begin so, which makes them later born
ZONES: Final = "zone"  # the map from VRFs and VXLAN devices to conntrack zones
# The set of zones that may begin no connection now. Its elements expire, so it is no part of what a kernel is to hold.
OVER_ALLOWANCE: Final = "over_allowance"

# NFLOG groups to which refused packets are told, one listener each. Numbers nobody else is likely to use: "NT" and the next.
FLOW_LOG_GROUP: Final = 0x4E54  # the agent's
LIVE_GROUP: Final = 0x4E55  # of `netorch flows`
REFUSED_ESTABLISHED: Final = 0x1  # the mark of a told packet that belongs to a connection which both ends have spoken on


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


class NftMap(KernelObject, frozen=True, kw_only=True, tag=True):
    """An empty set or map of one VPC in the fabric's inet table; its elements are objects of their own."""

    name: str  # carries the VNI, see `slice_of_nft_name`
    spec: str  # what `nft list` shows of it but for the elements, lines joined by "; ", e.g. "type ipv4_addr : mark"

    @property
    def key(self) -> Key:
        return ("nft-set", self.name)

    @property
    def parent(self) -> Key | None:
        return VPC_TABLE

    @property
    def rank(self) -> int:
        return Rank.NFT_SET

    @property
    def slice_id(self) -> int:
        return slice_of_nft_name(self.name)


class ChainSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set that one chain reads, with all its elements."""

    name: str  # begins with the chain's name
    spec: str  # as NftMap's, e.g. "type ipv4_addr . inet_service . inet_proto; flags interval"
    elements: tuple[str, ...]  # sorted; as `nft -n list` shows them, e.g. "10.0.0.0/8 . 80-443 . 6"


class NftChain(KernelObject, frozen=True, kw_only=True, tag=True):
    """A chain of one VPC in the fabric's inet table, with the sets that only it reads.

    All of it is one object, so that a change of rules is one change in place: no packet meets half of it. A change that leaves
    `rules` as they are and only adds elements, or only removes some, costs no more than those.
    """

    in_place: ClassVar[bool] = True

    name: str  # carries the VNI
    rules: tuple[str, ...]  # in the words of `nft -n list` but for quotes and leading zeros, as PortChain's
    sets: tuple[ChainSet, ...] = ()  # by name

    @property
    def key(self) -> Key:
        return ("nft-rules", self.name)

    @property
    def parent(self) -> Key | None:
        return VPC_TABLE

    @property
    def rank(self) -> int:
        return Rank.NFT_BORDER if self.name.startswith(BORDER) else Rank.NFT_RULES

    @property
    def is_blank(self) -> bool:
        """Return whether there are no rules: sets without a chain are left by an agent that ended before it made the chain."""
        return not self.rules

    def rank_of_change(self, actual: KernelObject) -> int:
        """Return the rank of elements: a class that gets other members or peers is one change of chains and of elements.

        A blank chain is as good as none: others may wait for it.
        """
        return self.rank if isinstance(actual, NftChain) and actual.is_blank else Rank.NFT_ELEMENT

    @property
    def slice_id(self) -> int:
        return slice_of_nft_name(self.name)


class NftElement(KernelObject, frozen=True, kw_only=True, tag=True):
    """An element of a set, or of a map when it has a `value`.

    `items` are the parts of the (concatenated) key in nft's own notation: names, addresses, MACs; numbers in hexadecimal.
    `vni` is part of the key of every element, see `vni_of_element`, and is kept apart for speed.
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
        own = slice_of_nft_name(self.set) != HOST_SLICE
        return ("nft-set", self.set) if own else ("nft-table", self.scope.value, self.family)

    @property
    def rank(self) -> int:
        return Rank.NFT_ELEMENT

    @property
    def slice_id(self) -> int:
        return self.vni


def freed_zone(obj: KernelObject) -> int:
    """Return the conntrack zone that a VPC gives back when this object goes: that of its VXLAN device; 0 for anything else."""
    if isinstance(obj, NftElement) and obj.set == ZONES and obj.items[0].startswith("vx"):
        return int(obj.value, 0)
    return 0


def vni_of_element(name: str, items: Sequence[str]) -> int:
    """Return the VNI of an element: in its set's name, in a device's name that comes first, or in a VXLAN header behind that.

    HOST_SLICE for what has none. Source: RFC 7348 section 5: a word of flags, then 24 bits of VNI and 8 reserved ones.
    """
    vni = slice_of_nft_name(name) or slice_of_ifname(items[0])
    if vni == HOST_SLICE and len(items) > 2 and items[2].startswith("0x"):
        vni = int(items[2], 16) >> 8 & 0xFFFFFF
    return vni
