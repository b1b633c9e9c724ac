"""BGP of an edge: with the border router, and with customers' routers.

The border router is told that public addresses arrive at this edge.

A session (BgpPeer) and what is announced in it (Announcement). A routing daemon in the outside namespace has both, and they are
read from it as other objects are from Linux (netorch.drivers.bird).

They are no part of the host's own slice, because no VPC has to wait for a daemon. They come behind the objects of all VPCs,
because an announcement invites packets, and an edge that has just been started must know where to send them.
"""

from __future__ import annotations

from typing import ClassVar, Final

from netorch.state.base import BORDER_SLICE, OUTSIDE, KernelObject, Key
from netorch.state.order import Order

LEARNED_METRIC: Final = 100  # of all learned routes in Linux; what they are worth is in another attribute of theirs


class BgpPeer(KernelObject, frozen=True, kw_only=True):
    """A session with the border router, by IPv4, watched by BFD (RFC 5882). Nothing that the router announces is taken.

    `local6` is the next hop of IPv6 prefixes, which the session carries, too (RFC 4760). The password is not here: the driver has
    it from a file of the edge, and says when the session has another one.
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
    other_password: bool = False  # whether it has another password than the file; nobody asks for that

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.remote)

    def text(self) -> str:
        password = " with a password that is not the file's" if self.other_password else ""
        local6 = f" {self.local6}" if self.local6 else ""
        return f"bgp local {self.local}{local6} as {self.local_asn} neighbor {self.remote} as {self.remote_asn}{password}"


class Announcement(KernelObject, frozen=True, kw_only=True):
    """A prefix that is announced in every session: all addresses of a pool as one, never a single address of a customer's."""

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
    """Return the name of the session of a tunnel or a virtual interface, by the name of that."""
    return name.replace("-", "_")


class CustomerPeer(KernelObject, frozen=True, kw_only=True):
    """A session with a customer's router, by a tunnel or a VLAN, in the VRF of the device that leads there.

    The peer is told `announces`, and nothing else. What it announces becomes routes of `table`, one for each prefix: that of the
    lowest metric, which is `metric` plus the length of the AS path. A route of netorch's own in that table, with a metric above
    LEARNED_METRIC, takes part: while it is the best, Linux has no learned one for its prefix. Nothing inside `refuses` is taken,
    and no more than `limit` prefixes: with one more the session ends, and begins again after a while.
    """

    kind: ClassVar[str] = "customer-peer"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.BGP_PEER

    name: str  # letters, digits and underscores; it has the id of what it is of
    ifname: str
    vrf: str  # of the device
    table: int  # for what the peer announces, below 1 << 31
    metric: int  # of what it announces
    local: str  # address
    local_asn: int
    remote: str
    remote_asn: int
    announces: tuple[str, ...]  # prefixes, sorted
    refuses: tuple[str, ...]  # prefixes, sorted: the VPC's own ranges
    limit: int
    bfd: bool = False
    secret: str = ""  # the key of TCP MD5 (RFC 2385), sealed for this host, base64; nothing: none
    other_password: bool = False  # whether it has another key than that; nobody asks for that

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
