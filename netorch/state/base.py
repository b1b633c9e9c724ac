"""What every kernel object says of itself, so that plan, slices and drivers' loops need no knowledge of their own.

key             the kernel's own identity of the object: kind, namespace, and what tells it from others of its kind there
netns           the label of the namespace that it is in
vni             the VPC that it belongs to; HOST_SLICE for what all VPCs share, BORDER_SLICE for what the border router hears
parent          the key of the object that this one stands on, e.g. a route's device
orphan          what the kernel leaves of it when the parent goes; nothing: it goes, too
needs           the key of one more object without which this one is of no use, and made again: a cable's other end
lost_when_down  whether the kernel takes it away when the parent, a device, goes down or gets another master
order           made in ascending order, removed in descending order (netorch.state.order)
public_prefix   what it leads from outside to its VPC: nobody but the holder of that may have it, whatever can be compiled
in_place        whether a changed object can be replaced without a moment of absence (`replaces`)
text            the object in the words of ip(8), bridge(8), sysctl(8), nft(8)

What becomes of other objects when one goes follows from these alone: netorch.state.aftermath.
How a restarted agent knows that an object is its own: netorch.state.owner.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

Key = tuple[str | int, ...]

HOST_SLICE: Final = 0
BORDER_SLICE: Final = -1  # what the border router hears from the host; no VPC waits for it, and it waits for all
PORTS: Final = -2  # no slice, but what is refused of the host's own for which nobody waits: ports of Direct Connect

UNDERLAY: Final = "underlay"  # the host's own namespace
OVERLAY: Final = "overlay"  # `netorch-<host>`: VRFs, VXLAN devices, ports
OUTSIDE: Final = "outside"  # of an edge: uplinks, public addresses and routes
# A gateway that tracks connections has a namespace of its own, whose label is the gateway's id.
_PERMANENT: Final = frozenset({UNDERLAY, OVERLAY})


class KernelObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing in a kernel. Equal values are equal things; `key` says which thing it is.

    Objects are in no cycles, so the garbage collector leaves them alone (`gc=False`): a host has some 100,000.
    """

    kind: ClassVar[str]  # the first item of the key
    in_place: ClassVar[bool] = False
    ours: ClassVar[bool] = True  # whether netorch may remove it
    has_children: ClassVar[bool] = False  # whether others may have it as their parent
    is_up_state: ClassVar[bool] = False  # whether its parent, a device, is down without it

    netns: str = OVERLAY
    vni: int = HOST_SLICE

    def matches(self, actual: KernelObject) -> bool:
        """Return whether the kernel's `actual` object is what this one asks for."""
        return self == actual

    def replaces(self, actual: KernelObject) -> bool:
        """Return whether the kernel can turn `actual`, which has the same key, into this without removing it."""
        return self.in_place and type(actual) is type(self)

    @property
    def key(self) -> Key:
        """Return the kernel's identity of the object: the kind, the namespace, and more."""
        raise NotImplementedError

    @property
    def parent(self) -> Key | None:
        """Return the key of the object that this one stands on: what stands on no other stands in its namespace."""
        return namespace_key(self.netns)

    @property
    def orphan(self) -> KernelObject | None:
        """Return what the kernel leaves of the object when its parent goes; None when it goes, too."""
        return None

    @property
    def needs(self) -> Key | None:
        """Return the key of one more object that this one does not outlive, or that leaves it useless when it goes."""
        return None

    @property
    def dies_with_parent(self) -> bool:
        """Return whether it goes when its parent does."""
        return self.orphan is None

    @property
    def is_waited_for(self) -> bool:
        """Return whether the host applies no VPC while it cannot have this; only what stands on a host once is asked."""
        return True

    @property
    def says_ready(self) -> bool:
        """Return whether it says to other hosts that this one is ready: that is decided after everything else was applied."""
        return False

    @property
    def says_active(self) -> bool:
        """Return whether it says to other hosts that this one's seats of stateful gateways are to be used."""
        return False

    @property
    def public_prefix(self) -> str:
        """Return the public prefix that it leads to its VPC, or nothing; it goes with the record that gives the VPC that."""
        return ""

    @property
    def lost_when_down(self) -> bool:
        """Return whether it goes when its parent, a device, goes down, if only for the moment of a change of its master."""
        return False

    @property
    def order(self) -> int:
        """Return the place in the order in which objects are made."""
        raise NotImplementedError

    def order_of_change(self, actual: KernelObject) -> int:
        """Return the place of a change in place, from `actual` to this, among what is made."""
        return self.order

    def text(self) -> str:
        """Return the object as one line."""
        raise NotImplementedError


def located(obj: KernelObject) -> str:
    """Return an object's text; in a namespace that is made when asked for with `-n LABEL` before it, as ip(8) has it."""
    return obj.text() if namespace_key(obj.netns) is None else f"-n {obj.netns} {obj.text()}"


def namespace_key(netns: str) -> Key | None:
    """Return the key of a namespace that is made when asked for; None for the two that every host has."""
    return None if netns in _PERMANENT else ("netns", UNDERLAY, netns)


def link_key(ifname: str, netns: str = OVERLAY) -> Key:
    """Return the key of the device of that name."""
    return ("link", netns, ifname)


def up_key(ifname: str, netns: str = OVERLAY) -> Key:
    """Return the key of a device's being up."""
    return ("up", netns, ifname)


class OnDevice(KernelObject, frozen=True, kw_only=True):
    """What stands on a device and goes with it."""

    ifname: str

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname, self.netns) if self.ifname else namespace_key(self.netns)
