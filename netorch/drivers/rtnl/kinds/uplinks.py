"""Uplinks: the host's own devices, moved from the underlay to the outside namespace and back.

The mark is set first, while the device is still in the underlay. So a moved device always has it, even if the process is
killed, and a device without it was put there by others. On the way back the mark is removed last.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from netorch.drivers.netlink import ABSENT, Channel, NetlinkError, attr_u32
from netorch.drivers.rtnl import devices, encode
from netorch.drivers.rtnl.devices import Device, Place
from netorch.drivers.rtnl.entries import failure
from netorch.drivers.rtnl.uapi import IFLA, RTEXT_FILTER_SKIP_STATS, RTM
from netorch.drivers.spaces import Spaces
from netorch.state.base import HOST_SLICE, OUTSIDE, UNDERLAY, KernelObject
from netorch.state.link import IncompleteLink, Link, Uplink
from netorch.state.op import Delete, Failure, Op
from netorch.state.owner import ALTNAME_PREFIX


class Uplinks:
    """The uplinks of one namespace."""

    def __init__(self, channel: Channel, underlay: Channel, place: Place, spaces: Spaces, uproot: Callable[[int], None]) -> None:
        """`uproot` deletes the devices on an uplink, which would otherwise survive and connect VPCs to the underlay."""
        self._channel = channel
        self._underlay = underlay
        self._place = place
        self._spaces = spaces
        self._uproot = uproot

    def concerns(self, obj: KernelObject) -> bool:
        """Return whether an object is an uplink, or an uplink renamed by others in the outside."""
        if isinstance(obj, IncompleteLink) and obj.netns == OUTSIDE and obj.vni == HOST_SLICE:
            return not self._place.is_vlan_of_port(obj.ifname)
        return isinstance(obj, Uplink)

    def apply(self, ops: list[Op]) -> list[Failure]:
        """Move uplinks to the outside or back, one by one."""
        failures: list[Failure] = []
        for op in ops:
            assert isinstance(op.obj, Link)
            refusal = self._give_back(op.obj.ifname) if isinstance(op, Delete) else self._take(op.obj.ifname)
            if refusal is not None:
                failures.append(failure(op, refusal))
        return failures

    def give_back_all(self) -> None:
        """Move all uplinks back, as far as the kernel permits: the namespace is about to be deleted."""
        for dev in self._devices():
            if devices.is_uplink(dev, self._place) or (_marks(dev) and self._place.vni_of(dev.ifname) == HOST_SLICE):
                self._give_back(dev.ifname)

    def _take(self, ifname: str) -> NetlinkError | None:
        """Move a device from the underlay. If it is already here, restore its mark or name."""
        renamed = _answer(self._channel, encode.get_marked(ifname))
        if renamed is not None and renamed.ifname != ifname:
            refused = self._channel.batch(encode.rename(renamed.index, ifname))
            return refused[min(refused)] if refused else None
        home = self._channel if _look(self._channel, ifname) is not None else self._underlay
        dev = _look(home, ifname)
        if dev is None:
            return NetlinkError(errno.ENODEV, f"the host has no device {ifname} in its own namespace; name an existing device")
        if dev.master:
            return NetlinkError(errno.EBUSY, f"{ifname} is part of another device; remove it from that device")
        if not dev.has_altname:
            refused = home.batch([encode.set_altname(ifname)])
            if refused:
                return refused[0]
        if home is self._channel:
            return None
        refused = home.batch([encode.move_link(dev.index, ifname, self._spaces.fds[self._place.netns])])
        return refused.get(0)

    def _give_back(self, ifname: str) -> NetlinkError | None:
        """Move a device back to the underlay under its name there, and remove its mark. Absence is fine."""
        dev = _look(self._channel, ifname)
        if dev is None:
            return None
        self._uproot(dev.index)
        marks = _marks(dev)
        own = marks[0].removeprefix(ALTNAME_PREFIX) if marks else ifname
        refused = self._channel.batch([encode.move_link(dev.index, own, self._spaces.fds[UNDERLAY])])
        if refused:
            return refused[0]
        refusals = self._underlay.batch([encode.del_altname(own, mark) for mark in marks]).values()
        return next((refusal for refusal in refusals if refusal.errno not in ABSENT), None)

    def _devices(self) -> Iterator[Device]:
        body = encode.link_header() + attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)
        return (devices.device(answer) for _, _, answer in self._channel.dump(RTM.GETLINK, body))


def _marks(dev: Device) -> list[str]:
    return [name for name in dev.altnames if name.startswith(ALTNAME_PREFIX)]


def _look(channel: Channel, ifname: str) -> Device | None:
    return _answer(channel, encode.get_link(ifname))


def _answer(channel: Channel, question: bytes) -> Device | None:
    body = channel.get(RTM.GETLINK, question)
    return devices.device(body) if body is not None else None
