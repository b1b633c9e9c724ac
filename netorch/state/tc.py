"""Traffic control at a device's ingress: what is done to packets by their inner destination MAC before they are routed.

A packet whose destination MAC is not the device's own is somebody else's to Linux, and dropped. A filter takes those that are
meant for a route's target here, and lets them come in by a device of the target's own.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from netorch.state.base import KernelObject, Key, OnDevice, link_key
from netorch.state.order import Order

# Where a filter sees packets.
REDIRECTED: Final = 0x4E56  # the mark of what a filter has redirected, so that a firewall knows that it came by VXLAN
INGRESS: Final = "ingress"
EGRESS: Final = "egress"  # none of ours is there


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


class Receive(msgspec.Struct, frozen=True):
    """Take the packet for this host's, whatever its destination MAC, and mark it. Source: tc-skbedit(8)."""

    mark: int

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return f"skbedit ptype host mark {self.mark:#x}"


class Redirect(msgspec.Struct, frozen=True):
    """Let the packet come in by another device; no further action follows. Source: tc-mirred(8)."""

    ifname: str

    def text(self) -> str:
        """Return it in the words of tc(8)."""
        return f"mirred ingress redirect dev {self.ifname}"


Action = Receive | Redirect


class TcFilter(KernelObject, frozen=True, kw_only=True):
    """What a device does with packets of any protocol to one destination MAC. Source: tc-flower(8).

    On a device of ours each filter is ours. One that is not of our making has `strange`, a word for what it is.
    """

    kind: ClassVar[str] = "filter"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.FILTER

    ifname: str
    hook: str = INGRESS
    pref: int  # 1 to 65535; a lower one decides first
    handle: int  # 1 to 2^31 - 1; what tells filters of one pref from each other
    dst_mac: str = ""
    actions: tuple[Action, ...] = ()
    strange: str = ""

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
        match = self.strange or f"flower dst_mac {self.dst_mac}"
        actions = " ".join(f"action {action.text()}" for action in self.actions)
        return f"filter dev {self.ifname} {self.hook} pref {self.pref} handle {self.handle:#x} {match} {actions}".rstrip()


def clsact_key(ifname: str, netns: str) -> Key:
    """Return the key of a device's clsact."""
    return (Clsact.kind, netns, ifname)
