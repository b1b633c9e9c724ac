"""BGP of an edge: with the border router, and with customers' routers.

The edge announces its public addresses to the border router.

A session is a BgpPeer, an announced prefix an Announcement. A routing daemon in the outside namespace has both, and
they are read from it as other objects are from Linux (netorch.drivers.bird).

They are not part of the host's own slice, because no VPC has to wait for a daemon. They come after the objects of all
VPCs, because an announcement attracts packets, and a freshly started edge must first know where to send them.
"""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.base import BORDER_SLICE, OUTSIDE, KernelObject, Key
from netorch.state.order import Order

LEARNED_METRIC: Final = 100  # of all learned routes in Linux; another attribute holds their real preference


class BgpPeer(KernelObject, frozen=True, kw_only=True):
    """An IPv4 session with the border router, watched by BFD (RFC 5882). The edge accepts no routes from the router.

    `local6` is the next hop of IPv6 prefixes, which the session carries, too (RFC 4760). The password is not in the
    object: the driver reads it from a file of the edge, and reports if the session has another one.
    """

    kind: ClassVar[str] = "bgp-peer"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.BGP_PEER

    netns: str = OUTSIDE
    vni: int = BORDER_SLICE
    local: str  # address
    local_asn: int
    remote: str
    remote_asn: int
    local6: str = ""
    other_password: bool = False  # only in dumps: the session's password differs from the file's

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.remote)

    def text(self) -> str:
        password = " with a password that is not the file's" if self.other_password else ""
        local6 = f" {self.local6}" if self.local6 else ""
        return f"bgp local {self.local}{local6} as {self.local_asn} neighbor {self.remote} as {self.remote_asn}{password}"


class Announcement(KernelObject, frozen=True, kw_only=True):
    """A prefix that every session announces: a whole pool of addresses, never a single address of a customer."""

    kind: ClassVar[str] = "announcement"
    order: ClassVar[int] = Order.ANNOUNCEMENT

    netns: str = OUTSIDE
    vni: int = BORDER_SLICE
    prefix: str

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.prefix)

    def text(self) -> str:
        return f"announce {self.prefix}"


def session_name(name: str) -> str:
    """Return the name of the session over a tunnel or a virtual interface with this name."""
    return name.replace("-", "_")


class CustomerPeer(KernelObject, frozen=True, kw_only=True):
    """A session with a customer's router, over a tunnel or a VLAN, in the VRF of this device.

    The edge announces exactly `announces`. The peer's announcements become routes of `table`, one for each prefix: the
    one with the lowest metric, which is `metric` plus the length of the AS path. A route of netorch's own in this table
    with a metric above LEARNED_METRIC competes: while it is the best, Linux has no learned route for its prefix.
    Prefixes inside `refuses` are rejected. More than `limit` prefixes end the session, which restarts after a while.
    """

    kind: ClassVar[str] = "customer-peer"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.BGP_PEER

    name: str  # letters, digits and underscores; includes the id of the VPN connection or virtual interface
    ifname: str
    vrf: str  # of the device
    table: int  # for the peer's routes, below 1 << 31
    metric: int  # of the peer's routes
    local: str  # address
    local_asn: int
    remote: str
    remote_asn: int
    announces: tuple[str, ...]  # prefixes, sorted
    refuses: tuple[str, ...]  # prefixes, sorted: the VPC's own ranges
    limit: int
    bfd: bool = False
    secret: str = ""  # the key of TCP MD5 (RFC 2385), sealed for this host, base64; empty: none
    other_password: bool = False  # only in dumps: the session's key differs

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.name)

    def text(self) -> str:
        where = f"{self.name} dev {self.ifname} vrf {self.vrf} table {self.table} metric {self.metric}"
        flags = f"{' bfd' if self.bfd else ''}{' md5' if self.secret else ''}"
        announces = f" announce {','.join(self.announces)}" if self.announces else ""
        session = f"local {self.local} as {self.local_asn} neighbor {self.remote} as {self.remote_asn}"
        other = " with another key" if self.other_password else ""
        return f"bgp {where} {session} limit {self.limit}{flags}{announces}{other}"
