"""Traffic control: actions on packets at a device, before routing (ingress) or just before they leave (egress).

A filter matches packets and acts on them. Filters of a lower step decide first. A packet that no filter matches continues
unchanged. No two filters of one step may match the same packet: the order of their creation would decide.

Linux identifies filters by device, hook, preference (`pref`) and handle. Both numbers follow from the match, so two rules
of Linux always hold:

* Filters of one preference have one protocol and one classifier, so each step has a preference for every such pair.
* Of two filters of one preference with the same match, Linux refuses to create the second. Linux accepts a change that makes
  two matches equal, but the changed filter then matches nothing. So the handle is a digest of the match, and only the actions
  are changed in place.
"""

from __future__ import annotations

import zlib
from typing import ClassVar, Final

import msgspec

from netorch.model.addr import mac_bytes, packed, version_of
from netorch.state.base import KernelObject, Key, OnDevice, link_key
from netorch.state.order import Order

VERIFIED: Final = 0x14E54  # the priority of verified VXLAN packets, 1:4e54 in tc(8) and nft(8)
REDIRECTED: Final = 0x4E56  # the mark of redirected packets, so that a firewall knows that they came over VXLAN

# The hook of a filter, the address to translate, and the direction of a redirect.
INGRESS: Final = "ingress"
EGRESS: Final = "egress"

# The protocols that filters match, as in tc(8).
ALL: Final = "all"
IP: Final = "ip"
IPV6: Final = "ipv6"
_PROTOCOLS: Final = {4: IP, 6: IPV6}
CUSTOMER_TAG: Final = "802.1Q"
SERVICE_TAG: Final = "802.1ad"
# Among the preferences of one step. A filter on tags cannot match addresses, which come after tags.
_PLACES: Final = {ALL: 1, IP: 2, IPV6: 3, CUSTOMER_TAG: 2, SERVICE_TAG: 3}
PREFS_PER_STEP: Final = 4


class Clsact(OnDevice, frozen=True, kw_only=True):
    """The queueing discipline that holds a device's filters. Source: tc(8), net/sched/sch_ingress.c."""

    kind: ClassVar[str] = "clsact"
    has_children: ClassVar[bool] = True
    order: ClassVar[int] = Order.CLSACT

    @property
    def key(self) -> Key:
        return clsact_key(self.ifname, self.netns)

    def text(self) -> str:
        return f"qdisc clsact dev {self.ifname}"


# --- matches -----------------------------------------------------------------------------------------------------------------


class Match(msgspec.Struct, frozen=True):
    """Packets that meet all conditions; without conditions, every packet of the protocol. Source: tc-flower(8).

    A packet with a VLAN tag has the tag's protocol. `src` and `dst` are prefixes of the packet's addresses, e.g.
    "10.0.0.0/16", of the same IP version as the protocol. `ip_proto` is the IP protocol number, e.g. 1 for ICMP; 0:
    any.

    Raises:
      ValueError: a prefix is not of the protocol, or has length 0, which Linux keeps as no condition; or the protocol
      is not IP.
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
        """Return a 32-bit number that distinguishes two matches of one protocol.

        It is certain to differ if all differing bits are within 32 consecutive bits: CRC-32 detects every burst error
        of that length. So the filters of many IPv4 addresses do not collide.
        """
        mac = mac_bytes(self.dst_mac).rjust(6, b"\0")
        return zlib.crc32(bytes([0, self.ip_proto]) + mac + _prefix_bytes(self.src) + _prefix_bytes(self.dst))

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        conditions = (("dst_mac", self.dst_mac), ("ip_proto", self.ip_proto), ("src_ip", self.src), ("dst_ip", self.dst))
        return " ".join(["flower", *(f"{name} {value}" for name, value in conditions if value)])


class OtherPriority(msgspec.Struct, frozen=True):
    """Packets of any protocol with a different priority. Source: tc-basic(8), tc-ematch(8).

    The priority is a field of Linux's packet buffer (`skb->priority`, nft's `meta priority`); it is not on the wire.
    """

    protocol: ClassVar[str] = ALL
    place: ClassVar[int] = 0

    priority: int

    @property
    def digest(self) -> int:
        """Return a 32-bit number that distinguishes two of these."""
        return self.priority

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        return f"basic match 'not meta(priority eq {self.priority:#x})'"


# --- actions -----------------------------------------------------------------------------------------------------------------


class Receive(msgspec.Struct, frozen=True):
    """Receive the packet on this host, whatever its destination MAC, and mark it. Source: tc-skbedit(8)."""

    mark: int

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        return f"skbedit ptype host mark {self.mark:#x}"


class Nat(msgspec.Struct, frozen=True):
    """Translate an IPv4 address without state. ICMP errors about a translated packet are translated back.

    `direction`: INGRESS, the destination address; EGRESS, the source address. `old` is a prefix. With a prefix shorter
    than 32, the addresses keep the bits after it. Source: tc-nat(8), net/sched/act_nat.c.
    """

    direction: str
    old: str
    new: str

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        return f"nat {self.direction} {self.old} {self.new}"


class Redirect(msgspec.Struct, frozen=True):
    """Move the packet to the ingress or egress of another device. No further action runs. Source: tc-mirred(8).

    `hook`: INGRESS, the device receives the packet and routes it. EGRESS, the packet leaves by the device as it is.
    """

    ifname: str
    hook: str = INGRESS

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        return f"mirred {self.hook} redirect dev {self.ifname}"


class Drop(msgspec.Struct, frozen=True):
    """Drop the packet. Source: tc-actions(8)."""

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        return "drop"


class Pass(msgspec.Struct, frozen=True):
    """Let the packet continue, past the filters of later steps. Source: tc-actions(8)."""

    def text(self) -> str:
        """Return it in the syntax of tc(8)."""
        return "pass"


Action = Receive | Nat | Redirect | Drop | Pass


# --- filters -----------------------------------------------------------------------------------------------------------------


class TcFilter(KernelObject, frozen=True, kw_only=True):
    """The actions of a device on matching packets. All filters on a netorch device are netorch's.

    The actions are executed in order. After the last one the packet continues, unless it was dropped or redirected.
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
        """Return its identity among the filters of its preference."""
        return self.match.digest or 1

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.ifname, self.hook, self.pref, self.handle)

    @property
    def parent(self) -> Key | None:
        return clsact_key(self.ifname, self.netns)

    @property
    def needs(self) -> Key | None:
        """Return the key of the device to which the filter redirects. Without it, the filter stays and drops packets."""
        leads = [action.ifname for action in self.actions if isinstance(action, Redirect)]
        return link_key(leads[0], self.netns) if leads else None

    def text(self) -> str:
        protocol = "" if self.match.protocol == ALL else f" protocol {self.match.protocol}"
        actions = " ".join(f"action {action.text()}" for action in self.actions)
        place = f"{self.ifname} {self.hook}{protocol} pref {self.pref} handle {self.handle:#x}"
        return f"filter dev {place} {self.match.text()} {actions}"


class StrangeFilter(KernelObject, frozen=True, kw_only=True):
    """A filter on a netorch device that netorch did not create. It is never wanted, so the agent deletes it."""

    kind: ClassVar[str] = TcFilter.kind
    order: ClassVar[int] = Order.FILTER

    ifname: str
    hook: str
    pref: int
    handle: int
    what: str  # a short description

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
