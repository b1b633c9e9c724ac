"""Layer 3: addresses, routes, neighbours, rules; all in the fabric namespace."""

from __future__ import annotations

from typing import ClassVar

from netorch.model.addr import version_of
from netorch.state.base import HOST_SLICE, KernelObject, Key, Rank, slice_of_ifname
from netorch.state.link import link_key

# The metric of a VRF's last route: above every other, below the kernel's own maximum. Source: vrf.rst.
UNREACHABLE_METRIC = 4278198272
VRF_PRIORITY = 1000  # of the rule that the kernel makes for all VRFs
IPV6_METRIC = 1024  # what the kernel gives an IPv6 route without one; said aloud so that the key is known


class Address(KernelObject, frozen=True, kw_only=True, tag=True):
    """An address of a VRF device: the VPC's router, which answers pings and is the source of ICMP errors."""

    ifname: str
    address: str  # with prefix length, always /32 or /128

    @property
    def key(self) -> Key:
        return ("addr", self.ifname, self.address)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname)

    @property
    def rank(self) -> int:
        return Rank.ADDRESS

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class Route(KernelObject, frozen=True, kw_only=True, tag=True):
    """A route in a VRF's table. Without a device it is an `unreachable` route; with `via` it is onlink."""

    in_place: ClassVar[bool] = True

    table: int
    dst: str  # prefix
    ifname: str = ""
    via: str = ""
    metric: int = 0
    mtu: int = 0  # bytes, where it is less than the device's; locked: Linux heeds no other for forwarded IPv6

    @property
    def key(self) -> Key:
        return ("route", self.table, self.dst, self.metric)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname) if self.ifname else link_key(f"vrf{self.table}")

    @property
    def rank(self) -> int:
        if not self.ifname:
            return Rank.DEFAULT_ROUTE
        return Rank.MAPPING_ROUTE if self.via else Rank.PORT_ROUTE

    @property
    def slice_id(self) -> int:
        return self.table

    @property
    def version(self) -> int:
        """Return 4 or 6."""
        return version_of(self.dst)


class Neighbour(KernelObject, frozen=True, kw_only=True, tag=True):
    """A permanent neighbour: nobody is ever asked, so nobody can lie."""

    in_place: ClassVar[bool] = True

    ifname: str
    dst: str
    lladdr: str

    @property
    def key(self) -> Key:
        return ("neigh", self.ifname, self.dst)

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname)

    @property
    def rank(self) -> int:
        return Rank.NEIGHBOUR

    @property
    def slice_id(self) -> int:
        return slice_of_ifname(self.ifname)


class Rule(KernelObject, frozen=True, kw_only=True, tag=True):
    """`pref N lookup TABLE` for one IP version: the local table stands behind the VRFs'.

    Without a table it is the rule that looks a packet up in the table of its VRF (`lookup [l3mdev-table]`).
    """

    version: int
    priority: int
    table: int = 0

    @property
    def key(self) -> Key:
        return ("rule", self.version, self.priority)

    @property
    def rank(self) -> int:
        return Rank.RULE

    @property
    def slice_id(self) -> int:
        return HOST_SLICE
