"""The underlay's device: which device carries packets of the VTEP address, and notifications of its changes."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final

from netorch.drivers.base import KernelEvent, Underlay, UnderlayChanged, Watcher
from netorch.drivers.netlink import Channel, attr_u32, attrs, open_socket, split, u32
from netorch.drivers.rtnl import devices, encode
from netorch.drivers.rtnl.uapi import (
    IFA,
    IFADDRMSG,
    IFINFOMSG,
    IFLA,
    RT_TABLE,
    RTA,
    RTEXT_FILTER_SKIP_STATS,
    RTM,
    RTMSG,
    RTNLGRP,
    table_of,
)
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY

_GROUPS: Final = 1 << RTNLGRP.LINK - 1 | 1 << RTNLGRP.IPV4_IFADDR - 1
_RECV: Final = 1 << 16
_WITHOUT_STATISTICS: Final = attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)
States = dict[int, tuple[int, bool]]  # by ifindex: MTU, and whether the device carries packets


class UnderlayDevice(Watcher):
    """The driver that watches the device, which belongs to the host."""

    netns: Final = UNDERLAY

    def __init__(self, netns_fd: int) -> None:
        """Open the namespace. Raises OSError."""
        self._channel = Channel(netns_fd)
        self._socket = open_socket(netns_fd, _GROUPS)
        self._socket.setblocking(False)
        self._vtep = ""
        self._known: States = {}  # of the candidate devices

    def find(self, vtep: str) -> Underlay | None:
        """Return the device that carries packets of the VTEP address, or None; its changes are events from now on.

        Raises:
          KernelError: the kernel does not show it.
        """
        try:
            found = _look(self._channel, vtep)
        except OSError as error:
            raise KernelError(f"find {vtep}", error.errno or 0, str(error)) from error
        self._vtep = vtep
        self._known, underlay = found if found is not None else ({}, None)
        return underlay

    def events(self) -> list[KernelEvent]:
        """Return an UnderlayChanged if the address or its device changed, or if notifications were lost."""
        changed = False
        while True:
            try:
                data = self._socket.recv(_RECV)
            except BlockingIOError:
                return [UnderlayChanged()] if changed else []
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError("read underlay events", error.errno or 0, os.strerror(error.errno or 0)) from error
                changed = True
                continue
            changed |= any(self._concerns(kind, body) for kind, _, body in split(data))

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        self._channel.close()

    def _concerns(self, kind: int, body: bytes) -> bool:
        if kind in (RTM.NEWADDR, RTM.DELADDR):
            return bool(self._vtep) and attrs(body, IFADDRMSG.SIZE).get(IFA.LOCAL) == socket.inet_aton(self._vtep)
        known = self._known.get(struct.unpack_from("=i", body, IFINFOMSG.INDEX)[0])
        return known is not None and (kind == RTM.DELLINK or (kind == RTM.NEWLINK and _state(devices.device(body)) != known))


def _state(dev: devices.Device) -> tuple[int, bool]:
    return dev.mtu, dev.carries


def _look(channel: Channel, vtep: str) -> tuple[States, Underlay] | None:
    """Return the device that carries packets of the VTEP address, and the states of all candidate devices; or None.

    It is the device that holds the address. If that is a loopback or dummy, as on hosts that announce their VTEP by BGP, it
    is the device with the smallest MTU among those that the main table's routes use, since packets may take any of them. The
    underlay then carries packets while any of these devices does.
    """
    wanted = socket.inet_aton(vtep)
    for body in _bodies(channel, RTM.GETADDR, IFADDRMSG.SIZE):
        if attrs(body, IFADDRMSG.SIZE).get(IFA.LOCAL) == wanted:
            holder = _underlay_device(channel, int.from_bytes(body[IFADDRMSG.INDEX : IFADDRMSG.SIZE], sys.byteorder))
            found = [holder] if holder is not None else []
            if holder is not None and _is_virtual(holder):
                # A dummy without routes is the whole underlay, as on a single test machine.
                found = list(_routed_devices(channel)) or ([holder] if holder.kind else [])
            best = min(found, key=lambda dev: dev.mtu, default=None)
            if best is None:
                return None
            carries = any(dev.carries for dev in found)
            return {dev.index: _state(dev) for dev in found}, Underlay(ifname=best.ifname, mtu=best.mtu, carries=carries)
    return None


def _underlay_device(channel: Channel, index: int) -> devices.Device | None:
    link = channel.get(RTM.GETLINK, encode.link_header(index) + _WITHOUT_STATISTICS)
    return devices.device(link) if link is not None else None


def _is_virtual(dev: devices.Device) -> bool:
    return dev.ifname == "lo" or dev.kind == "dummy"


def _routed_devices(channel: Channel) -> Iterator[devices.Device]:
    """Yield the output devices of the main table's IPv4 routes that are up and not virtual."""
    indexes = set()
    for body in _bodies(channel, RTM.GETROUTE, RTMSG.SIZE):
        found = attrs(body, RTMSG.SIZE)
        if table_of(body, found) == RT_TABLE.MAIN and RTA.OIF in found:
            indexes.add(u32(found[RTA.OIF]))
    found_devices = (_underlay_device(channel, index) for index in indexes)
    yield from (dev for dev in found_devices if dev is not None and dev.up and not _is_virtual(dev))


def _bodies(channel: Channel, kind: int, length: int) -> list[bytes]:
    """Return the answers to an IPv4 dump request with a fixed header of this length."""
    return [body for _, _, body in channel.dump(kind, bytes((socket.AF_INET,)) + bytes(length - 1))]
