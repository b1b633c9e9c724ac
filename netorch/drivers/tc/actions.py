"""Actions of filters as attributes of a message, and back. Pure.

Each action says how to continue: with the next action (pipe), or with the packet passed (ok), dropped (shot) or consumed
(stolen).
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Final

from netorch.drivers.netlink import attr, attr_u32, u32
from netorch.drivers.tc.matches import mask_of, prefix_of
from netorch.drivers.tc.strange import Strange
from netorch.drivers.tc.uapi import (
    GACT,
    MIRRED,
    NAT,
    PACKET_HOST,
    SKBEDIT,
    TC_ACT_OK,
    TC_ACT_PIPE,
    TC_ACT_SHOT,
    TC_ACT_STOLEN,
    TCA_EGRESS_REDIR,
    TCA_INGRESS_REDIR,
)
from netorch.model.addr import packed
from netorch.state.tc import EGRESS, INGRESS, Action, Drop, Nat, Pass, Receive, Redirect

IndexOf = Callable[[str], int]
Names = Mapping[int, str]  # ifindex -> name
Options = Mapping[int, bytes]

_GENERIC = struct.Struct("=IIiii")  # of each action: index, capabilities, control action, refcnt, bindcnt
_MIRRED_TAIL = struct.Struct("=iI")  # mirred action, ifindex
_NAT_TAIL = struct.Struct("=4s4s4sI")  # old address, new address, mask, flags
_NUMBER_16 = struct.Struct("=H")
_REDIRECTIONS: Final = {INGRESS: TCA_INGRESS_REDIR, EGRESS: TCA_EGRESS_REDIR}
_NAT_FLAGS: Final = {INGRESS: 0, EGRESS: NAT.EGRESS}
_VERDICTS: Final[dict[int, Drop | Pass]] = {TC_ACT_SHOT: Drop(), TC_ACT_OK: Pass()}
# For each kind of action: the attribute of its parameters, and attributes without influence on its effect.
_ATTRIBUTES: Final = {
    "skbedit": (SKBEDIT.PARMS, {SKBEDIT.TM, SKBEDIT.PAD}),
    "nat": (NAT.PARMS, {NAT.TM, NAT.PAD}),
    "mirred": (MIRRED.PARMS, {MIRRED.TM, MIRRED.PAD}),
    "gact": (GACT.PARMS, {GACT.TM, GACT.PAD}),
}


def pack_action(action: Action, index_of: IndexOf, *, last: bool) -> tuple[str, bytes]:
    """Return the action's kind and its options. Raises LookupError if a device does not exist."""
    follows = TC_ACT_OK if last else TC_ACT_PIPE
    match action:
        case Receive():
            ptype = attr(SKBEDIT.PTYPE, _NUMBER_16.pack(PACKET_HOST))
            return "skbedit", attr(SKBEDIT.PARMS, _parms(follows)) + ptype + attr_u32(SKBEDIT.MARK, action.mark)
        case Nat():
            network, _, length = action.old.partition("/")
            addresses = packed(network), packed(action.new), mask_of(int(length), 4)
            return "nat", attr(NAT.PARMS, _parms(follows) + _NAT_TAIL.pack(*addresses, _NAT_FLAGS[action.direction]))
        case Redirect():
            to = _MIRRED_TAIL.pack(_REDIRECTIONS[action.hook], index_of(action.ifname))
            return "mirred", attr(MIRRED.PARMS, _parms(TC_ACT_STOLEN) + to)
        case Drop():
            return "gact", attr(GACT.PARMS, _parms(TC_ACT_SHOT))
        case Pass():
            return "gact", attr(GACT.PARMS, _parms(TC_ACT_OK))


def read_action(kind: str, options: Options, names: Names, *, last: bool) -> Action:
    """Return the action in a message. Raises Strange."""
    parms_of, mute = _ATTRIBUTES.get(kind, (0, set()))
    parms = options.get(parms_of, b"")
    if len(parms) < _GENERIC.size:
        raise Strange(f"action {kind}")
    says = {number: value for number, value in options.items() if number not in mute and number != parms_of}
    follows, tail = int(_GENERIC.unpack_from(parms)[2]), parms[_GENERIC.size :]
    goes_on = follows == (TC_ACT_OK if last else TC_ACT_PIPE)
    found: Action | None = None
    if kind == "skbedit" and goes_on:
        found = _receive(says)
    elif kind == "nat" and goes_on and not says:
        found = _nat(tail)
    elif kind == "mirred" and follows == TC_ACT_STOLEN and not says:
        found = _redirect(tail, names)
    elif kind == "gact" and not says:
        found = _VERDICTS.get(follows)
    if found is None:
        raise Strange(f"action {kind}")
    return found


def _parms(follows: int) -> bytes:
    return _GENERIC.pack(0, 0, follows, 0, 0)


def _receive(says: Options) -> Receive | None:
    whole = u32(says.get(SKBEDIT.MASK, b"\xff" * 4)) == 0xFFFFFFFF
    ptype = int.from_bytes(says.get(SKBEDIT.PTYPE, b"\xff"), sys.byteorder)
    if not says.keys() <= {SKBEDIT.MARK, SKBEDIT.PTYPE, SKBEDIT.MASK} or not whole or ptype != PACKET_HOST:
        return None
    return Receive(mark=u32(says.get(SKBEDIT.MARK, b"")))


def _nat(tail: bytes) -> Nat | None:
    old, new, mask, flags = _NAT_TAIL.unpack_from(tail)
    direction = next((direction for direction, number in _NAT_FLAGS.items() if number == flags), None)
    if direction is None:
        return None
    return Nat(direction=direction, old=prefix_of(old, mask), new=socket.inet_ntop(socket.AF_INET, new))


def _redirect(tail: bytes, names: Names) -> Redirect | None:
    does, index = _MIRRED_TAIL.unpack_from(tail)
    hook = next((hook for hook, number in _REDIRECTIONS.items() if number == does), None)
    return None if hook is None else Redirect(ifname=names.get(index, ""), hook=hook)  # no name: the device is gone
