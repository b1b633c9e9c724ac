"""Clsact and filters as route netlink messages. Pure; the inverse is netorch.drivers.tc.decode.

`index_of` returns a device's ifindex by name, and raises LookupError if there is no such device.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Final

from netorch.drivers.netlink import F_CREATE, F_EXCL, Message, attr_text, nested
from netorch.drivers.rtnl.uapi import RTM
from netorch.drivers.tc.actions import IndexOf, pack_action
from netorch.drivers.tc.matches import ACTIONS, PROTOCOLS, pack_match
from netorch.drivers.tc.uapi import ACT, TC_H, TCA
from netorch.state.base import KernelObject
from netorch.state.tc import EGRESS, INGRESS, Clsact, StrangeFilter, TcFilter

HOOKS: Final = {INGRESS: TC_H.INGRESS, EGRESS: TC_H.EGRESS}  # the parent of a hook's filters

_TCMSG = struct.Struct("=BxxxiIII")


def pack(obj: KernelObject, index_of: IndexOf, *, delete: bool = False) -> Message:
    """Return the message that creates, replaces or deletes a clsact or filter.

    Raises:
      LookupError: a device does not exist.
    """
    match obj:
        case Clsact():
            head = head_of(index_of(obj.ifname), 0 if delete else TC_H.CLSACT_HANDLE, TC_H.CLSACT)
            body = head + attr_text(TCA.KIND, Clsact.kind)
            return (RTM.DELQDISC, 0, body) if delete else (RTM.NEWQDISC, F_CREATE | F_EXCL, body)
        case TcFilter() | StrangeFilter() if delete:
            return RTM.DELTFILTER, 0, _filter_head(obj, index_of, protocol=0)
        case TcFilter():
            kind, conditions = pack_match(obj.match)
            actions = nested(ACTIONS, *_actions(obj, index_of))
            head = _filter_head(obj, index_of, PROTOCOLS[obj.match.protocol])
            return RTM.NEWTFILTER, F_CREATE, head + attr_text(TCA.KIND, kind) + nested(TCA.OPTIONS, conditions, actions)
        case _:
            raise TypeError(f"{type(obj).__name__} has no message")


def head_of(index: int, handle: int = 0, parent: int = 0, info: int = 0) -> bytes:
    """Return the fixed header of a message."""
    return _TCMSG.pack(0, index, handle, parent, info)


def _filter_head(obj: TcFilter | StrangeFilter, index_of: IndexOf, protocol: int) -> bytes:
    return head_of(index_of(obj.ifname), obj.handle, HOOKS[obj.hook], obj.pref << 16 | socket.htons(protocol))


def _actions(obj: TcFilter, index_of: IndexOf) -> Iterator[bytes]:
    for place, action in enumerate(obj.actions, 1):
        kind, options = pack_action(action, index_of, last=place == len(obj.actions))
        yield nested(place, attr_text(ACT.KIND, kind), nested(ACT.OPTIONS, options))
