"""Messages that make devices in the outside namespace, to work in the overlay: xfrm interfaces and VLAN devices. Pure.

The inverse stands in netorch.drivers.rtnl.devices.
"""

from __future__ import annotations

import struct
from typing import Final

from netorch.drivers.netlink import F_CREATE, F_EXCL, Message, attr, attr_text, attr_u32, nested
from netorch.drivers.rtnl import encode
from netorch.drivers.rtnl.uapi import (
    ALL_VLAN_FLAGS,
    IFLA,
    IFLA_INFO,
    IFLA_VLAN,
    IFLA_XFRM,
    NETNSA,
    RTM,
    VLAN_FLAG_LOOSE_BINDING,
    VLAN_FLAG_REORDER_HDR,
)
from netorch.state.rooted import Rooted, Vlan, Xfrm

VLAN_PROTOCOLS: Final = {"802.1Q": 0x8100, "802.1ad": 0x88A8}  # linux/if_ether.h
# It carries packets without their tag, and is up or down by itself: with the device below only its carrier goes, not its routes.
VLAN_FLAGS: Final = VLAN_FLAG_REORDER_HDR | VLAN_FLAG_LOOSE_BINDING


def new_xfrm(xfrm: Xfrm, outside: int, vrf_index: int) -> Message:
    """Return the creation of an xfrm interface: Linux makes it in the outside and moves it here before anybody sees it.

    `outside` is the number of that namespace here. Source: net/core/rtnetlink.c, rtnl_newlink_create.
    """
    info = nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"xfrm"), nested(IFLA_INFO.DATA, attr_u32(IFLA_XFRM.IF_ID, xfrm.if_id)))
    body = (
        encode.link_header(),
        attr_text(IFLA.IFNAME, xfrm.ifname),
        attr_u32(IFLA.LINK_NETNSID, outside),
        member(xfrm, vrf_index),
        info,
    )
    return RTM.NEWLINK, F_CREATE | F_EXCL, b"".join(body)


def new_vlan(vlan: Vlan, outside: int | None, lower_index: int, vrf_index: int) -> Message:
    """Return the creation of a VLAN device, likewise; `outside` is None for one that stays there."""
    data = nested(
        IFLA_INFO.DATA,
        attr(IFLA_VLAN.ID, struct.pack("=H", vlan.vlan)),
        attr(IFLA_VLAN.PROTOCOL, VLAN_PROTOCOLS[vlan.protocol].to_bytes(2, "big")),
        vlan_flags(),
    )
    body = (
        encode.link_header(),
        attr_text(IFLA.IFNAME, vlan.ifname),
        attr_u32(IFLA.LINK, lower_index),
        attr_u32(IFLA.LINK_NETNSID, outside) if outside is not None else b"",
        member(vlan, vrf_index),
        nested(IFLA.LINKINFO, attr(IFLA_INFO.KIND, b"vlan"), data),
    )
    return RTM.NEWLINK, F_CREATE | F_EXCL, b"".join(body)


def member(obj: Rooted, vrf_index: int) -> bytes:
    """Return what of such a device can be changed while it stands."""
    return (encode.mtu(obj.mtu) if obj.mtu else b"") + encode.group(obj.group) + encode.master(vrf_index)


def vlan_flags() -> bytes:
    """Return the attribute that gives a VLAN device its flags and takes all others away."""
    return attr(IFLA_VLAN.FLAGS, struct.pack("=II", VLAN_FLAGS, ALL_VLAN_FLAGS))


def new_namespace_number(fd: int) -> Message:
    """Return the message after which a namespace has a number here, of the kernel's choice."""
    return RTM.NEWNSID, F_CREATE | F_EXCL, bytes(4) + attr(NETNSA.NSID, struct.pack("=i", -1)) + attr_u32(NETNSA.FD, fd)
