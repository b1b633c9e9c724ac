"""Layer 3: addresses, routes, neighbours, rules."""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.model.addr import version_of
from netorch.state.base import HOST_SLICE, OUTSIDE, OVERLAY, KernelObject, Key, OnDevice, link_key, namespace_key
from netorch.state.names import vrf_of_table
from netorch.state.order import Order

# The metric of a VRF's last route: above every other, below the kernel's own maximum. Source: vrf.rst.
UNREACHABLE_METRIC = 4278198272
MAIN_TABLE: Final = 254  # of a namespace without VRFs
VRF_PRIORITY = 1000  # of the kernel's rule for all VRFs
IPV6_METRIC = 1024  # the kernel's default for an IPv6 route; explicit, so that the key is known

# Types of routes, as in ip-route(8).
UNICAST: Final = "unicast"
UNREACHABLE: Final = "unreachable"  # the sender gets an ICMP error
BLACKHOLE: Final = "blackhole"  # the sender gets nothing
LOCAL: Final = "local"  # for the host itself, as if it had all addresses of the prefix


class Address(OnDevice, frozen=True, kw_only=True):
    """An address of a device. An address of a VRF is the VPC's router: it answers pings and is the source of ICMP errors."""

    kind: ClassVar[str] = "addr"
    order: ClassVar[int] = Order.ADDRESS

    address: str  # with prefix length; on VRFs always /32 or /128

    @property
    def key(self) -> Key:
        return ("addr", self.netns, self.ifname, self.address)

    @property
    def lost_when_down(self) -> bool:
        return ":" in self.address  # IPv4 addresses stay

    def text(self) -> str:
        return f"address {self.address} dev {self.ifname}"


class Route(KernelObject, frozen=True, kw_only=True):
    """A route in a VRF's table, or in the main table of a namespace without VRFs.

    A unicast route has a device, and with `via` it is onlink. A local route has its VRF as the device. The others have
    neither.
    """

    kind: ClassVar[str] = "route"
    in_place: ClassVar[bool] = True

    table: int
    dst: str  # prefix
    type: str = UNICAST
    ifname: str = ""
    via: str = ""
    metric: int = 0
    mtu: int = 0  # bytes, where less than the device's; locked: Linux ignores any other for forwarded IPv6

    @property
    def key(self) -> Key:
        return ("route", self.netns, self.table, self.dst, self.metric)

    @property
    def parent(self) -> Key | None:
        if self.ifname or self.netns == OVERLAY:
            return link_key(self.ifname or vrf_of_table(self.table), self.netns)
        return namespace_key(self.netns)

    @property
    def orphan(self) -> KernelObject | None:
        if self.ifname or self.netns != OVERLAY:
            return None
        return self  # the table survives the VRF device, with its routes that have no device

    @property
    def public_prefix(self) -> str:
        return self.dst if self.netns == OUTSIDE and self.vni != HOST_SLICE else ""

    @property
    def lost_when_down(self) -> bool:
        return bool(self.ifname)

    @property
    def order(self) -> int:
        if not self.ifname:
            return Order.TABLE_ROUTE
        return Order.MAPPING_ROUTE if self.via else Order.PORT_ROUTE

    @property
    def version(self) -> int:
        """Return 4 or 6."""
        return version_of(self.dst)

    def text(self) -> str:
        metric = f" metric {self.metric}" if self.metric else ""
        if self.type not in (UNICAST, LOCAL):
            return f"route {self.type} {self.dst} table {self.table}{metric}"
        via = f" via {self.via}" if self.via else ""
        table = f" table {self.table}" if self.table not in (self.vni, MAIN_TABLE) else ""
        mtu = f" mtu lock {self.mtu}" if self.mtu else ""
        local = f"{LOCAL} " if self.type == LOCAL else ""
        return f"route {local}{self.dst}{via} dev {self.ifname}{table}{metric}{mtu}"


class Neighbour(OnDevice, frozen=True, kw_only=True):
    """A permanent neighbour: the host sends no solicitations, so no instance can spoof the answers."""

    kind: ClassVar[str] = "neigh"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.NEIGHBOUR

    dst: str
    lladdr: str

    @property
    def key(self) -> Key:
        return ("neigh", self.netns, self.ifname, self.dst)

    @property
    def lost_when_down(self) -> bool:
        return True

    def text(self) -> str:
        return f"neigh {self.dst} lladdr {self.lladdr} dev {self.ifname}"


class Rule(KernelObject, frozen=True, kw_only=True):
    """`pref N lookup TABLE` for one IP version: the local table comes after the VRFs' tables.

    Without a table, it is the rule that looks a packet up in its VRF's table (`lookup [l3mdev-table]`). With `iif` it
    applies only to packets from this device.
    """

    kind: ClassVar[str] = "rule"
    order: ClassVar[int] = Order.RULE

    version: int
    priority: int
    table: int = 0
    iif: str = ""

    @property
    def key(self) -> Key:
        return ("rule", self.netns, self.version, self.priority)

    def text(self) -> str:
        table = {0: "[l3mdev-table]", 255: "local"}.get(self.table, str(self.table))
        by = f" iif {self.iif}" if self.iif else ""
        return f"rule {'-6 ' if self.version == 6 else ''}pref {self.priority}{by} lookup {table}"
