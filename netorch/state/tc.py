"""Traffic control: what is done to packets at a device, before they are routed (ingress) or just before they leave (egress).

A filter takes packets by what they are, and acts on them. Filters of a lower step decide first; what no filter takes goes on its
way. Those of one step must not both take a packet: which of them decides would depend on when they were made.

Linux keeps filters by device, hook, preference (`pref`) and handle. Two rules of its own cannot be broken here, because both
numbers follow from what a filter takes:

* Filters of one preference are of one protocol and one classifier, so each step has a preference for every such pair.
* Of two filters of one preference that take the same packets, the second is refused when it is made. When a filter is changed
  into one, Linux accepts that, and the filter takes nothing. So the handle is a digest of what a filter takes, and only what it
  does to packets is changed in place.
"""

from __future__ import annotations

import zlib
from typing import ClassVar, Final

import msgspec

from netorch.model.addr import mac_bytes, packed, version_of
from netorch.state.base import KernelObject, Key, OnDevice, link_key
from netorch.state.order import Order

VERIFIED: Final = 0x14E54  # the priority of VXLAN packets that have been verified, written 1:4e54 by tc(8) and nft(8)
REDIRECTED: Final = 0x4E56  # the mark of what a filter has redirected, so that a firewall knows that it came by VXLAN

# Where a filter sees packets, which of their addresses is translated, and by which end of another device they go on.
INGRESS: Final = "ingress"
EGRESS: Final = "egress"

# The protocols that filters tell apart, as tc(8) names them.
ALL: Final = "all"
IP: Final = "ip"
IPV6: Final = "ipv6"
_PROTOCOLS: Final = {4: IP, 6: IPV6}
CUSTOMER_TAG: Final = "802.1Q"
SERVICE_TAG: Final = "802.1ad"
# Of the preferences of one step: who looks at tags there cannot look at addresses, which are behind tags.
_PLACES: Final = {ALL: 1, IP: 2, IPV6: 3, CUSTOMER_TAG: 2, SERVICE_TAG: 3}
PREFS_PER_STEP: Final = 4


class Clsact(OnDevice, frozen=True, kw_only=True):
    """The queueing discipline that a device's filters need. Source: tc(8), net/sched/sch_ingress.c."""

    kind: ClassVar[str] = "clsact"
    has_children: ClassVar[bool] = True
    order: ClassVar[int] = Order.CLSACT

    @property
    def key(self) -> Key:
        return clsact_key(self.ifname, self.netns)

    def text(self) -> str:
        return f"qdisc clsact dev {self.ifname}"


# --- what a filter takes -----------------------------------------------------------------------------------------------------


class Match(msgspec.Struct, frozen=True):
    """Packets that meet all conditions; without any, every packet of the protocol. Source: tc-flower(8).

    A packet with a VLAN tag has the tag's protocol. `src` and `dst` are prefixes of the packet's addresses, e.g. "10.0.0.0/16",
    of the same IP version as the protocol. `ip_proto` is the number of what is inside an IP packet, e.g. 1 for ICMP; 0: anything.

    Raises:
      ValueError: a prefix is not of the protocol, or has length 0, which Linux keeps as no condition; or the protocol is not IP.
    """

    protocol: str = ALL
    dst_mac: str = ""
    src: str = ""
    dst: str = ""
    ip_proto: int = 0

    def __post_init__(self) -> None:
        for prefix in (self.src, self.dst):
            if prefix and (_PROTOCOLS[version_of(prefix)] != self.protocol or prefix.endswith("/0")):
                raise ValueError(f"{prefix} is no condition for packets of protocol {self.protocol}")
        if self.ip_proto and self.protocol not in _PROTOCOLS.values():
            raise ValueError(f"ip_proto {self.ip_proto} is no condition for packets of protocol {self.protocol}")

    @property
    def place(self) -> int:
        """Return the place of the protocol's preference in a step."""
        return _PLACES[self.protocol]

    @property
    def digest(self) -> int:
        """Return a number of 32 bits that tells two matches of one protocol apart.

        It is certain to if all the bits in which they differ are within 32 bits in a row: CRC-32 finds every burst error of that
        length. So the filters of many IPv4 addresses do not collide.
        """
        mac = mac_bytes(self.dst_mac).rjust(6, b"\0")
        return zlib.crc32(bytes([0, self.ip_proto]) + mac + _prefix_bytes(self.src) + _prefix_bytes(self.dst))

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        conditions = (("dst_mac", self.dst_mac), ("ip_proto", self.ip_proto), ("src_ip", self.src), ("dst_ip", self.dst))
        return " ".join(["flower", *(f"{name} {value}" for name, value in conditions if value)])


class OtherPriority(msgspec.Struct, frozen=True):
    """Packets of any protocol whose priority is another one. Source: tc-basic(8), tc-ematch(8).

    The priority is Linux's own note on a packet (`skb->priority`, nft's `meta priority`); it is not on the wire.
    """

    protocol: ClassVar[str] = ALL
    place: ClassVar[int] = 0

    priority: int

    @property
    def digest(self) -> int:
        """Return a number of 32 bits that tells two of these apart."""
        return self.priority

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return f"basic match 'not meta(priority eq {self.priority:#x})'"


# --- what it does to them ----------------------------------------------------------------------------------------------------


class Receive(msgspec.Struct, frozen=True):
    """Take the packet for this host's, whatever its destination MAC, and mark it. Source: tc-skbedit(8)."""

    mark: int

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return f"skbedit ptype host mark {self.mark:#x}"


class Nat(msgspec.Struct, frozen=True):
    """Translate an IPv4 address, without state; the errors (ICMP) about a translated packet are translated back.

    `direction`: INGRESS, the destination address; EGRESS, the source address. `old` is a prefix. Of a prefix shorter than 32 the
    addresses keep the bits behind it. Source: tc-nat(8), net/sched/act_nat.c.
    """

    direction: str
    old: str
    new: str

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return f"nat {self.direction} {self.old} {self.new}"


class Redirect(msgspec.Struct, frozen=True):
    """Let the packet come in by another device, or leave by it; no further action follows. Source: tc-mirred(8).

    `hook`: INGRESS, it comes in by the device and is routed there. EGRESS, it leaves by the device as it is.
    """

    ifname: str
    hook: str = INGRESS

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return f"mirred {self.hook} redirect dev {self.ifname}"


class Drop(msgspec.Struct, frozen=True):
    """Drop the packet. Source: tc-actions(8)."""

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return "drop"


class Pass(msgspec.Struct, frozen=True):
    """Let the packet go on its way, past the filters of later steps. Source: tc-actions(8)."""

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return "pass"


Action = Receive | Nat | Redirect | Drop | Pass


# --- filters -----------------------------------------------------------------------------------------------------------------


class TcFilter(KernelObject, frozen=True, kw_only=True):
    """What a device does with some packets. On a device of ours each filter is ours.

    The actions are carried out in order. Behind the last one the packet goes on its way, if there still is one.
    """

    kind: ClassVar[str] = "filter"
    in_place: ClassVar[bool] = True

    ifname: str
    hook: str = INGRESS
    step: int  # 1 to 16383; a lower one decides first
    match: Match | OtherPriority
    actions: tuple[Action, ...]

    @property
    def order(self) -> int:
        return Order.DROPPING_FILTER if self.actions == (Drop(),) else Order.FILTER

    @property
    def pref(self) -> int:
        """Return the preference in the kernel."""
        return self.step * PREFS_PER_STEP + self.match.place

    @property
    def handle(self) -> int:
        """Return what tells the filter from others of its preference."""
        return self.match.digest or 1

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.ifname, self.hook, self.pref, self.handle)

    @property
    def parent(self) -> Key | None:
        return clsact_key(self.ifname, self.netns)

    @property
    def needs(self) -> Key | None:
        """Return the key of the device that the filter leads to: Linux keeps the filter without it, which then drops packets."""
        leads = [action.ifname for action in self.actions if isinstance(action, Redirect)]
        return link_key(leads[0], self.netns) if leads else None

    def text(self) -> str:
        protocol = "" if self.match.protocol == ALL else f" protocol {self.match.protocol}"
        actions = " ".join(f"action {action.text()}" for action in self.actions)
        place = f"{self.ifname} {self.hook}{protocol} pref {self.pref} handle {self.handle:#x}"
        return f"filter dev {place} {self.match.text()} {actions}"


class StrangeFilter(KernelObject, frozen=True, kw_only=True):
    """A filter on a device of ours that is not of our making: nobody asks for it, so it is removed."""

    kind: ClassVar[str] = TcFilter.kind
    order: ClassVar[int] = Order.FILTER

    ifname: str
    hook: str
    pref: int
    handle: int
    what: str  # in a few words

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.ifname, self.hook, self.pref, self.handle)

    @property
    def parent(self) -> Key | None:
        return clsact_key(self.ifname, self.netns)

    def text(self) -> str:
        return f"filter dev {self.ifname} {self.hook} pref {self.pref} handle {self.handle:#x} {self.what}"


def clsact_key(ifname: str, netns: str) -> Key:
    """Return the key of a device's clsact."""
    return (Clsact.kind, netns, ifname)


def _prefix_bytes(prefix: str) -> bytes:
    address, _, length = prefix.partition("/")
    return (packed(address).ljust(16, b"\0") if address else bytes(16)) + bytes([int(length or 0)])
