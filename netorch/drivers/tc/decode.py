"""Traffic control messages as kernel objects. Pure; the inverse is netorch.drivers.tc.encode."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from netorch.drivers.base import Count
from netorch.drivers.netlink import attrs, each_attr
from netorch.drivers.netlink import u32 as number
from netorch.drivers.tc.actions import Names, read_action
from netorch.drivers.tc.encode import HOOKS
from netorch.drivers.tc.matches import ACTIONS, read_match
from netorch.drivers.tc.strange import Strange
from netorch.drivers.tc.uapi import ACT, STATS, TCA, TCMSG
from netorch.state.base import HOST_SLICE
from netorch.state.foreign import Foreign
from netorch.state.names import vni_of_ifname
from netorch.state.tc import PREFS_PER_STEP, Action, Clsact, StrangeFilter, TcFilter

_TCMSG = struct.Struct("=BxxxiIII")
_BASIC = struct.Struct("=QI")  # bytes, packets
_HOOKS = {parent: hook for hook, parent in HOOKS.items()}


def device_number(body: bytes) -> int:
    """Return the ifindex in a message."""
    return int(_TCMSG.unpack_from(body)[1])


def qdisc(body: bytes, names: Names) -> Clsact | Foreign | None:
    """Return a netorch device's clsact, a foreign qdisc, or None for the kernel's own, which have no handle."""
    _, index, handle, _, _ = _TCMSG.unpack_from(body)
    kind = _text(attrs(body, TCMSG.SIZE).get(TCA.KIND, b""))
    ifname = names.get(index, "")
    if kind == Clsact.kind and (vni := vni_of_ifname(ifname)) != HOST_SLICE:
        return Clsact(vni=vni, ifname=ifname)
    return Foreign(what=f"qdisc {kind} on {ifname or index}") if handle else None


def tc_filter(body: bytes, names: Names) -> TcFilter | StrangeFilter | None:
    """Return the filter of a netorch device, or None.

    Also None for a message about all filters of a pref, and for a filter outside of chain 0: no filter of netorch jumps
    there.
    """
    _, index, handle, parent, info = _TCMSG.unpack_from(body)
    ifname, hook, pref = names.get(index, ""), _HOOKS.get(parent, ""), info >> 16
    vni = vni_of_ifname(ifname)
    found = attrs(body, TCMSG.SIZE)
    if vni == HOST_SLICE or not handle or not hook or number(found.get(TCA.CHAIN, b"")):
        return None
    kind = _text(found.get(TCA.KIND, b""))
    try:
        options = attrs(found.get(TCA.OPTIONS, b""))
        match, actions = read_match(kind, socket.ntohs(info & 0xFFFF), options), _actions(options, names)
    except Strange as error:
        return StrangeFilter(vni=vni, ifname=ifname, hook=hook, pref=pref, handle=handle, what=f"{kind} {error}")
    ours = TcFilter(vni=vni, ifname=ifname, hook=hook, step=pref // PREFS_PER_STEP, match=match, actions=actions)
    if (ours.pref, ours.handle) == (pref, handle):
        return ours
    return StrangeFilter(vni=vni, ifname=ifname, hook=hook, pref=pref, handle=handle, what=f"{match.text()} in another place")


def count(body: bytes) -> Count:
    """Return the counters of a filter's first action, which all packets of the filter reach."""
    options = attrs(attrs(body, TCMSG.SIZE).get(TCA.OPTIONS, b""))
    first = next((raw for _, raw in each_attr(options.get(ACTIONS, b""))), b"")
    stats = attrs(attrs(first).get(ACT.STATS, b""))
    size, packets = _BASIC.unpack_from(stats.get(STATS.BASIC, bytes(_BASIC.size)))
    return Count(packets=number(stats[STATS.PKT64]) if STATS.PKT64 in stats else packets, bytes=size)


def _actions(options: Mapping[int, bytes], names: Names) -> tuple[Action, ...]:
    found = [attrs(raw) for _, raw in each_attr(options.get(ACTIONS, b""))]
    return tuple(
        read_action(_text(each.get(ACT.KIND, b"")), attrs(each.get(ACT.OPTIONS, b"")), names, last=place == len(found))
        for place, each in enumerate(found, 1)
    )


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
