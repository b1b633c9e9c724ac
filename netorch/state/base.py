"""The attributes of every kernel object. Plan, slices and the drivers' loops need no other knowledge of it.

key             the kernel's identity of the object: kind, namespace, and what is unique among objects of its kind there
netns           the label of its namespace
vni             the VPC that it belongs to; HOST_SLICE: shared by all VPCs; BORDER_SLICE: announced to the border router
parent          the key of the object that it depends on, e.g. a route's device
within          the key of the nftables table that it is a part of
orphan          its remainder in the kernel after its parent is deleted; None: it is deleted, too
needs           the key of another object without which it is useless and recreated: a cable's other end
freed           what it is changed into before the object in `needs` is deleted; None: it is lost, or recreated
lost_when_down  whether the kernel deletes it when the parent, a device, goes down or gets another master
order           objects are created in ascending order, deleted in descending order (netorch.state.order)
public_prefix   the public prefix that it routes to its VPC; only its holder may have it, even if a VPC does not compile
in_place        whether a changed object can be replaced without an interruption (`replaces`)
text            the object in the syntax of ip(8), bridge(8), sysctl(8), nft(8)

The effect of an object's deletion on others follows from these alone: netorch.state.aftermath.
How a restarted agent recognises its own objects: netorch.state.owner.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

Key = tuple[str | int, ...]

HOST_SLICE: Final = 0
BORDER_SLICE: Final = -1  # what the host announces to the border router; no VPC waits for it, and it waits for all
PORTS: Final = -2  # not a slice, but errors of host objects for which no VPC waits: ports of Direct Connect

UNDERLAY: Final = "underlay"  # the host's own namespace
OVERLAY: Final = "overlay"  # `netorch-<host>`: VRFs, VXLAN devices, ports
OUTSIDE: Final = "outside"  # on an edge: uplinks, public addresses and routes
# A gateway that tracks connections has its own namespace, whose label is the gateway's id.
_PERMANENT: Final = frozenset({UNDERLAY, OVERLAY})


class KernelObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One object in a kernel. Equal values are equal objects; `key` identifies the object.

    Objects have no reference cycles, so the garbage collector can ignore them (`gc=False`): a host has some 100,000.
    """

    kind: ClassVar[str]  # the first item of the key
    in_place: ClassVar[bool] = False
    ours: ClassVar[bool] = True  # whether netorch may delete it
    has_children: ClassVar[bool] = False  # whether it can be the parent of other objects
    is_up_state: ClassVar[bool] = False  # whether its parent, a device, is down without it
    judges: ClassVar[bool] = False  # whether it is a part of rules that flows of its VPC may rest on
    holds_flows: ClassVar[bool] = False  # whether it forwards packets that rules have judged before (netorch.plan.flows)
    goes_first: ClassVar[bool] = False  # whether a plan deletes it before it changes anything
    is_reloaded: ClassVar[bool] = False  # whether a change of it changes at once what is `within` it (netorch.agent.reloads)

    netns: str = OVERLAY
    vni: int = HOST_SLICE

    def matches(self, actual: KernelObject) -> bool:
        """Return whether the kernel's `actual` object is equivalent to this one."""
        return self == actual

    def replaces(self, actual: KernelObject) -> bool:
        """Return whether the kernel can change `actual`, which has the same key, into this one without deleting it."""
        return self.in_place and type(actual) is type(self)

    def ends_flows(self, actual: KernelObject | None, *, in_doubt: bool) -> bool:
        """Return whether flows of its VPC may have lost their reasons once it stands in the place of `actual`."""
        return False

    @property
    def key(self) -> Key:
        """Return the kernel's identity of the object: the kind, the namespace, and more."""
        raise NotImplementedError

    @property
    def parent(self) -> Key | None:
        """Return the key of the object that this one depends on. By default this is its namespace."""
        return namespace_key(self.netns)

    @property
    def within(self) -> Key | None:
        """Return the key of the nftables table that it is a part of."""
        return None

    @property
    def orphan(self) -> KernelObject | None:
        """Return the object's remainder in the kernel after its parent is deleted, or None if it is deleted, too."""
        return None

    @property
    def needs(self) -> Key | None:
        """Return the key of another object whose deletion deletes this one or makes it useless."""
        return None

    @property
    def freed(self) -> KernelObject | None:
        """Return its remainder without the object in `needs`, whose deletion Linux would refuse; None if there is none."""
        return None

    @property
    def dies_with_parent(self) -> bool:
        """Return whether the deletion of its parent deletes it."""
        return self.orphan is None

    @property
    def is_waited_for(self) -> bool:
        """Return whether the host applies no VPC until it has this object. Only asked of objects that exist once per host."""
        return True

    @property
    def says_ready(self) -> bool:
        """Return whether it signals to other hosts that this one is ready. The agent applies everything else first."""
        return False

    @property
    def says_active(self) -> bool:
        """Return whether it signals to other hosts that this one's seats of stateful gateways are active."""
        return False

    @property
    def public_prefix(self) -> str:
        """Return the public prefix that it routes to its VPC, or "". It must go with the record that assigns the prefix."""
        return ""

    @property
    def lost_when_down(self) -> bool:
        """Return whether it is lost when its parent, a device, goes down, even for the moment of a change of master."""
        return False

    @property
    def order(self) -> int:
        """Return its place in the order of creation."""
        raise NotImplementedError

    def order_of_change(self, actual: KernelObject) -> int:
        """Return the place of an in-place change from `actual` to this one in the order of creation."""
        return self.order

    def text(self) -> str:
        """Return the object as one line."""
        raise NotImplementedError


def located(obj: KernelObject) -> str:
    """Return an object's text, with `-n LABEL` before it if the object is in a namespace created on demand, as for ip(8)."""
    return obj.text() if namespace_key(obj.netns) is None else f"-n {obj.netns} {obj.text()}"


def namespace_key(netns: str) -> Key | None:
    """Return the key of a namespace created on demand; None for the two that every host has."""
    return None if netns in _PERMANENT else ("netns", UNDERLAY, netns)


def link_key(ifname: str, netns: str = OVERLAY) -> Key:
    """Return the key of the device with this name."""
    return ("link", netns, ifname)


def up_key(ifname: str, netns: str = OVERLAY) -> Key:
    """Return the key of the up state of a device."""
    return ("up", netns, ifname)


class OnDevice(KernelObject, frozen=True, kw_only=True):
    """An object that belongs to a device and is deleted with it."""

    ifname: str

    @property
    def parent(self) -> Key | None:
        return link_key(self.ifname, self.netns) if self.ifname else namespace_key(self.netns)
