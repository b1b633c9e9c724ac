"""What every kernel object says of itself, so that plan and drivers need no knowledge of their own.

key       the kernel's own identity of the object: two objects with one key cannot exist together
parent    the key of the object that takes this one with it when it goes (a device takes its routes)
rank      born in ascending order, dying in descending order
in_place  whether a changed object can be replaced without a moment of absence (`replaces`)
slice_id  the VNI that the object belongs to, readable from the key alone; 0 for what all VPCs share

How a restarted agent knows that an object is its own stands in netorch.state.owner.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

Key = tuple[str | int, ...]

HOST_SLICE = 0


class Rank:
    """The order of birth. Policy stands before the ports come up, and the mapping comes last."""

    RULE = 10
    SYSCTL = 12
    NFT_TABLE = 15
    NFT_SET = 16
    NFT_RULES = 17
    NFT_BORDER = 18  # chains that lead to other chains of their VPC
    CONNTRACK_SYSCTL = 19  # they are there once a table needs connection tracking
    VRF = 20
    VRF_UP = 22
    DEFAULT_ROUTE = 25
    VXLAN = 30
    PORT = 34
    DEVICE_SYSCTL = 36
    NFT_CHAIN = 38
    NFT_ELEMENT = 40
    ADDRESS = 45
    UP = 50
    NEIGHBOUR = 55
    FDB = 57
    PORT_ROUTE = 60
    MAPPING_ROUTE = 70


class KernelObject(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in a kernel. Equal values are equal things; `key` says which thing it is."""

    in_place: ClassVar[bool] = False
    ours: ClassVar[bool] = True  # whether netorch may remove it

    def matches(self, actual: KernelObject) -> bool:
        """Return whether the kernel's `actual` object is what this one asks for."""
        return self == actual

    def replaces(self, actual: KernelObject) -> bool:
        """Return whether the kernel can turn `actual`, which has the same key, into this without removing it."""
        return self.in_place and type(actual) is type(self)

    @property
    def key(self) -> Key:
        """Return the kernel's identity of the object; the first item is the kind."""
        raise NotImplementedError

    @property
    def parent(self) -> Key | None:
        """Return the key of the object that this one cannot outlive."""
        return None

    @property
    def rank(self) -> int:
        """Return the place in the order of birth."""
        raise NotImplementedError

    def rank_of_change(self, actual: KernelObject) -> int:
        """Return the place among births of a change in place, from `actual` to this."""
        return self.rank

    @property
    def slice_id(self) -> int:
        """Return the VNI, or HOST_SLICE."""
        raise NotImplementedError


def slice_of_ifname(ifname: str) -> int:
    """Return the VNI in `vrf5000`, `vx5000` or `v-001388abcdef0`, or HOST_SLICE for any other device."""
    if ifname.startswith("v-") and len(ifname) == 15:
        digits, base = ifname[2:8], 16
    elif ifname.startswith("vrf"):
        digits, base = ifname[3:], 10
    elif ifname.startswith("vx"):
        digits, base = ifname[2:], 10
    else:
        return HOST_SLICE
    try:
        return int(digits, base)
    except ValueError:
        return HOST_SLICE


def slice_of_nft_name(name: str) -> int:
    """Return the VNI in the name of a VPC's own chain or set, e.g. `class-001388.4`; HOST_SLICE for what all VPCs share."""
    _, dash, rest = name.partition("-")
    digits = rest[:6]
    if not dash or len(digits) != 6 or rest[6:7] not in ("", "-", "."):
        return HOST_SLICE
    try:
        return int(digits, 16)
    except ValueError:
        return HOST_SLICE


def slice_of_key(key: Key) -> int:
    """Return the VNI that a key names, or HOST_SLICE; for keys of which the object is already gone."""
    kind = key[0]
    if kind == "route":
        return int(key[1])
    if kind == "sysctl":
        return max(slice_of_ifname(part) for part in str(key[1]).split("/"))
    if kind in ("link", "up", "gro", "settings", "nft-chain", "addr", "neigh", "fdb"):
        return slice_of_ifname(str(key[1]))
    if kind in ("nft-set", "nft-rules"):
        return slice_of_nft_name(str(key[1]))
    return HOST_SLICE
