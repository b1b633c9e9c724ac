"""Messages of traffic control as kernel objects. Pure; the inverse stands in netorch.drivers.tc.encode.

What is not of our making on a device of ours has a word for what it is in place of what it does: it differs from all that is
asked for, and is deleted.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping

import msgspec

from netorch.drivers.netlink import attrs, each_attr, u32
from netorch.drivers.tc.encode import GENERIC, HOOKS, KIND, MIRRED_TAIL, WHOLE_MAC
from netorch.drivers.tc.uapi import (
    ACT,
    ETH_P_ALL,
    FLOWER,
    MIRRED,
    PACKET_HOST,
    SKBEDIT,
    TC_ACT_PIPE,
    TC_ACT_STOLEN,
    TCA,
    TCA_INGRESS_REDIR,
    TCMSG,
)
from netorch.state.base import HOST_SLICE
from netorch.state.foreign import Foreign
from netorch.state.names import vni_of_ifname
from netorch.state.tc import INGRESS, Action, Clsact, Receive, Redirect, TcFilter

Names = Mapping[int, str]  # device number -> name

_TCMSG = struct.Struct("=BxxxiIII")
_HOOKS = {parent: hook for hook, parent in HOOKS.items()}


class _Strange(Exception):
    """A filter is not of our making; says in a word what it is."""


def device_number(body: bytes) -> int:
    """Return the number of the device that a message is about."""
    return int(_TCMSG.unpack_from(body)[1])


def qdisc(body: bytes, names: Names) -> Clsact | Foreign | None:
    """Return a device of ours' clsact, a qdisc of somebody else's, or None for the kernel's own, which have no handle."""
    _, index, handle, _, _ = _TCMSG.unpack_from(body)
    kind = _text(attrs(body, TCMSG.SIZE).get(TCA.KIND, b""))
    ifname = names.get(index, "")
    if kind == Clsact.kind and (vni := vni_of_ifname(ifname)) != HOST_SLICE:
        return Clsact(vni=vni, ifname=ifname)
    return Foreign(what=f"qdisc {kind} on {ifname or index}") if handle else None


def tc_filter(body: bytes, names: Names) -> TcFilter | None:
    """Return the filter of a device of ours, or None.

    None, too, for a message about all filters of a pref, and for a filter outside of the first chain: none of ours leads there.
    """
    _, index, handle, parent, info = _TCMSG.unpack_from(body)
    ifname = names.get(index, "")
    vni = vni_of_ifname(ifname)
    found = attrs(body, TCMSG.SIZE)
    if vni == HOST_SLICE or not handle or u32(found.get(TCA.CHAIN, b"")):
        return None
    hook = _HOOKS.get(parent, hex(parent))
    bare = TcFilter(vni=vni, ifname=ifname, hook=hook, pref=info >> 16, handle=handle)
    try:
        _check_place(hook, socket.ntohs(info & 0xFFFF))
        mac, actions = _flower(found, names)
    except _Strange as error:
        return msgspec.structs.replace(bare, strange=f"{_text(found.get(TCA.KIND, b''))} {error}")
    return msgspec.structs.replace(bare, dst_mac=mac, actions=actions)


def _check_place(hook: str, protocol: int) -> None:
    if hook != INGRESS or protocol != ETH_P_ALL:
        raise _Strange("of another hook or protocol")


def _flower(found: Mapping[int, bytes], names: Names) -> tuple[str, tuple[Action, ...]]:
    options = attrs(found.get(TCA.OPTIONS, b""))
    ours = {FLOWER.ACT, FLOWER.KEY_ETH_DST, FLOWER.KEY_ETH_DST_MASK, FLOWER.FLAGS, FLOWER.IN_HW_COUNT}
    if _text(found.get(TCA.KIND, b"")) != KIND or not options.keys() <= ours:
        raise _Strange("with other conditions")
    if options.get(FLOWER.KEY_ETH_DST_MASK) != WHOLE_MAC:
        raise _Strange("of many MACs")
    actions = tuple(_action(attrs(raw), names) for _, raw in each_attr(options.get(FLOWER.ACT, b"")))
    return options[FLOWER.KEY_ETH_DST].hex(":"), actions


def _action(found: Mapping[int, bytes], names: Names) -> Action:
    kind, options = _text(found.get(ACT.KIND, b"")), attrs(found.get(ACT.OPTIONS, b""))
    match kind:
        case "skbedit":
            return _receive(options)
        case "mirred":
            return _redirect(options, names)
        case _:
            raise _Strange(f"action {kind}")


def _receive(options: Mapping[int, bytes]) -> Receive:
    ours = {SKBEDIT.TM, SKBEDIT.PARMS, SKBEDIT.MARK, SKBEDIT.PAD, SKBEDIT.PTYPE, SKBEDIT.MASK}
    whole = u32(options.get(SKBEDIT.MASK, b"\xff" * 4)) == 0xFFFFFFFF
    ptype = int.from_bytes(options.get(SKBEDIT.PTYPE, b"\xff"), sys.byteorder)
    follows = GENERIC.unpack_from(options[SKBEDIT.PARMS])[2]
    if not options.keys() <= ours or not whole or (ptype, follows) != (PACKET_HOST, TC_ACT_PIPE):
        raise _Strange("action skbedit")
    return Receive(mark=u32(options.get(SKBEDIT.MARK, b"")))


def _redirect(options: Mapping[int, bytes], names: Names) -> Redirect:
    parms = options.get(MIRRED.PARMS, b"")
    follows, (does, index) = GENERIC.unpack_from(parms)[2], MIRRED_TAIL.unpack_from(parms, GENERIC.size)
    if (follows, does) != (TC_ACT_STOLEN, TCA_INGRESS_REDIR) or not options.keys() <= {MIRRED.TM, MIRRED.PARMS, MIRRED.PAD}:
        raise _Strange("action mirred")
    return Redirect(ifname=names.get(index, ""))  # no name: the device is gone


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
