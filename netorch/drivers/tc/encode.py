"""Clsact and filters as route netlink messages. Pure; the inverse stands in netorch.drivers.tc.decode.

`index_of` turns a device's name into its number and raises LookupError when there is none.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Final

from netorch.drivers.netlink import F_CREATE, F_EXCL, Message, attr, attr_text, attr_u32, nested
from netorch.drivers.rtnl.encode import mac_bytes
from netorch.drivers.rtnl.uapi import RTM
from netorch.drivers.tc.uapi import (
    ACT,
    ETH_P_ALL,
    FLOWER,
    MIRRED,
    PACKET_HOST,
    SKBEDIT,
    TC_ACT_PIPE,
    TC_ACT_STOLEN,
    TC_H,
    TCA,
    TCA_INGRESS_REDIR,
)
from netorch.state.base import KernelObject
from netorch.state.tc import EGRESS, INGRESS, Action, Clsact, Receive, Redirect, TcFilter

IndexOf = Callable[[str], int]

KIND: Final = "flower"
HOOKS: Final = {INGRESS: TC_H.INGRESS, EGRESS: TC_H.EGRESS}  # the parent of a hook's filters
WHOLE_MAC: Final = b"\xff" * 6
GENERIC: Final = struct.Struct("=IIiii")  # of an action: number, capabilities, what follows, two counts of uses
MIRRED_TAIL: Final = struct.Struct("=iI")  # what it does, device

_TCMSG = struct.Struct("=BxxxiIII")
_NUMBER_16 = struct.Struct("=H")


def pack(obj: KernelObject, index_of: IndexOf, *, delete: bool = False) -> Message:
    """Return the message that creates, replaces or deletes a clsact or filter.

    Raises:
      LookupError: a device is not there.
    """
    match obj:
        case Clsact():
            head = head_of(index_of(obj.ifname), 0 if delete else TC_H.CLSACT_HANDLE, TC_H.CLSACT)
            body = head + attr_text(TCA.KIND, Clsact.kind)
            return (RTM.DELQDISC, 0, body) if delete else (RTM.NEWQDISC, F_CREATE | F_EXCL, body)
        case TcFilter() if delete:
            return RTM.DELTFILTER, 0, _filter_head(obj, index_of, protocol=0)
        case TcFilter():
            actions = (_action(place, action, index_of) for place, action in enumerate(obj.actions, 1))
            mac = attr(FLOWER.KEY_ETH_DST, mac_bytes(obj.dst_mac)) + attr(FLOWER.KEY_ETH_DST_MASK, WHOLE_MAC)
            options = nested(TCA.OPTIONS, mac, nested(FLOWER.ACT, *actions))
            return RTM.NEWTFILTER, F_CREATE, _filter_head(obj, index_of, ETH_P_ALL) + attr_text(TCA.KIND, KIND) + options
        case _:
            raise TypeError(f"{type(obj).__name__} has no message")


def head_of(index: int, handle: int = 0, parent: int = 0, info: int = 0) -> bytes:
    """Return the fixed head of a message."""
    return _TCMSG.pack(0, index, handle, parent, info)


def _filter_head(obj: TcFilter, index_of: IndexOf, protocol: int) -> bytes:
    return head_of(index_of(obj.ifname), obj.handle, HOOKS[obj.hook], obj.pref << 16 | socket.htons(protocol))


def _action(place: int, action: Action, index_of: IndexOf) -> bytes:
    match action:
        case Receive():
            parms = attr(SKBEDIT.PARMS, GENERIC.pack(0, 0, TC_ACT_PIPE, 0, 0))
            ptype = attr(SKBEDIT.PTYPE, _NUMBER_16.pack(PACKET_HOST))
            kind, options = "skbedit", parms + ptype + attr_u32(SKBEDIT.MARK, action.mark)
        case Redirect():
            to = MIRRED_TAIL.pack(TCA_INGRESS_REDIR, index_of(action.ifname))
            kind, options = "mirred", attr(MIRRED.PARMS, GENERIC.pack(0, 0, TC_ACT_STOLEN, 0, 0) + to)
    return nested(place, attr_text(ACT.KIND, kind), nested(ACT.OPTIONS, options))
