"""Messages that create overlay devices rooted in the outside namespace: xfrm interfaces and VLAN devices. Pure.

The inverse is netorch.drivers.rtnl.devices.
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
# Packets have no tag on the device. It does not follow its parent's up state: if the parent goes down, only the carrier goes,
# not the routes.
VLAN_FLAGS: Final = VLAN_FLAG_REORDER_HDR | VLAN_FLAG_LOOSE_BINDING


def new_xfrm(xfrm: Xfrm, outside: int, vrf_index: int) -> Message:
    """Return the creation of an xfrm interface: Linux creates it in the outside, and moves it here before it is visible.

    `outside` is the nsid of that namespace here. Source: net/core/rtnetlink.c, rtnl_newlink_create.
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
    """Return the message that creates a VLAN device in the same way; `outside` is None if the device stays there."""
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
    """Return the attributes that can be changed on an existing device."""
    return (encode.mtu(obj.mtu) if obj.mtu else b"") + encode.group(obj.group) + encode.master(vrf_index)


def vlan_flags() -> bytes:
    """Return the attribute that sets a VLAN device's flags and clears all others."""
    return attr(IFLA_VLAN.FLAGS, struct.pack("=II", VLAN_FLAGS, ALL_VLAN_FLAGS))


def new_namespace_number(fd: int) -> Message:
    """Return the message that gives a namespace an nsid here, chosen by the kernel."""
    return RTM.NEWNSID, F_CREATE | F_EXCL, bytes(4) + attr(NETNSA.NSID, struct.pack("=i", -1)) + attr_u32(NETNSA.FD, fd)
