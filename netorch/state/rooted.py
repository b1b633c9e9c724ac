"""Devices that are created in the outside namespace and work in the overlay: tunnels of IPsec, and VLANs of a port."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from netorch.state.base import OUTSIDE, KernelObject, Key, link_key, namespace_key
from netorch.state.link import Link, finishes
from netorch.state.order import Order


class Rooted(Link, frozen=True, kw_only=True):
    """A device that Linux creates in the outside namespace, and that works in a VRF of the overlay, or in none."""

    mtu: int  # bytes; 0: that of the lower device, for a service tag
    vrf: str = ""
    group: int = 0

    @property
    def parent(self) -> Key | None:
        return link_key(self.vrf, self.netns) if self.vrf else namespace_key(self.netns)

    @property
    def orphan(self) -> KernelObject | None:
        return msgspec.structs.replace(self, vrf="") if self.vrf else None

    @property
    def root(self) -> Key:
        """Return its unique identity in the outside, independent of its name and place."""
        raise NotImplementedError

    def replaces(self, actual: KernelObject) -> bool:
        return actual.root == self.root if isinstance(actual, Rooted) else finishes(self, actual)

    def common_text(self) -> str:
        """Return the common attributes in the syntax of ip(8)."""
        return f"mtu {self.mtu} group {self.group:#x} master {self.vrf or 'none'}"


class Xfrm(Rooted, frozen=True, kw_only=True):
    """An xfrm interface in a VRF: the plaintext end of an IPsec tunnel. Its SAs and policies are in the outside.

    It is deleted with the outside namespace. It drops packets while there is no SA with its `if_id`, so nothing leaves
    in plain text. Source: xfrmi_xmit2.
    """

    order: ClassVar[int] = Order.TUNNEL

    if_id: int

    @property
    def needs(self) -> Key | None:
        return namespace_key(OUTSIDE)

    @property
    def root(self) -> Key:
        return ("xfrm", self.if_id)

    def text(self) -> str:
        return f"link {self.ifname} type xfrm if_id {self.if_id:#x} {self.common_text()}"


class Vlan(Rooted, frozen=True, kw_only=True):
    """An 802.1Q device on a device of the outside: in a VRF of the overlay, or in the outside for a service tag (802.1ad).

    It has the MAC of the lower device, and is deleted with that. When the lower device goes down, it loses its carrier
    and keeps its routes.
    """

    lower: str  # the device in the outside namespace
    vlan: int  # 0: for packets with a priority and no VLAN
    protocol: str = "802.1Q"  # or 802.1ad

    @property
    def order(self) -> int:
        return Order.SERVICE_VLAN if self.netns == OUTSIDE and self.vlan else Order.VLAN

    @property
    def needs(self) -> Key | None:
        return link_key(self.lower, OUTSIDE)

    @property
    def root(self) -> Key:
        return ("vlan", self.lower, self.protocol, self.vlan)

    def text(self) -> str:
        what = f"type vlan protocol {self.protocol} id {self.vlan}"
        return f"link {self.ifname} link {self.lower} {what} {self.common_text()}"
