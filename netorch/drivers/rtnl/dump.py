"""Read all of netorch's objects from route netlink. Cost: one dump per kind of object, whatever their number."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from netorch.drivers import foreign, home
from netorch.drivers.netlink import Channel, attr_u32, attrs, u32
from netorch.drivers.rtnl import decode, devices, encode
from netorch.drivers.rtnl.devices import Place
from netorch.drivers.rtnl.uapi import (
    AF_BRIDGE,
    IFADDRMSG,
    IFLA,
    NDMSG,
    NDTMSG,
    RT_TABLE,
    RTA,
    RTEXT_FILTER_SKIP_STATS,
    RTM,
    RTMSG,
    table_of,
)
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import Route
from netorch.state.link import IncompleteLink, Link, Settings, VethPort
from netorch.state.owner import PROTOCOL

_T = TypeVar("_T")
_AF_INET, _AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_WITHOUT_STATISTICS = attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)


def read_all(channel: Channel, place: Place) -> list[KernelObject]:
    """Return netorch's devices, sysctls of devices, addresses, rules, neighbours, FDB entries and routes of a namespace.

    `place` is updated with the devices.

    Raises:
      OSError: the kernel refused a dump.
    """
    found = read_devices(channel, place)
    objects = list(_devices(channel, found, place))
    objects += _present(channel.read(RTM.GETADDR, bytes(IFADDRMSG.SIZE), lambda body: decode.address(body, place)))
    objects += _rules(channel, place.netns)
    neighbours = _present(channel.read(RTM.GETNEIGH, bytes(NDMSG.SIZE), lambda body: decode.neighbour(body, place)))
    objects += (neighbour for neighbour, permanent in neighbours if permanent)
    objects += _present(channel.read(RTM.GETNEIGH, _family(AF_BRIDGE), lambda body: decode.fdb(body, place)))
    return objects + list(_read_all_routes(channel, place))


def _read_all_routes(channel: Channel, place: Place) -> Iterator[KernelObject]:
    if place.netns == OUTSIDE:  # the other routes there belong to daemons, and may be many
        yield from read_routes(channel, place)
        return

    def read(body: bytes) -> KernelObject | None:
        return decode.route(body, place) or foreign.route(body, place.netns)

    for family in (_AF_INET, _AF_INET6):
        yield from _present(channel.read(RTM.GETROUTE, _family(family), read))


def read_routes(channel: Channel, place: Place) -> Iterator[Route]:
    """Yield netorch's routes of all tables and both IP versions; the kernel itself filters out foreign ones."""
    for family in (_AF_INET, _AF_INET6):
        request = bytes((family, 0, 0, 0, 0, PROTOCOL)) + bytes(RTMSG.SIZE - RTMSG.PROTOCOL - 1)
        yield from _present(channel.read(RTM.GETROUTE, request, lambda body: decode.route(body, place)))


def read_devices(channel: Channel, place: Place) -> list[devices.Device]:
    """Return all devices, and make them the only ones that `place` knows."""
    found = channel.read(RTM.GETLINK, encode.link_header() + _WITHOUT_STATISTICS, devices.device)
    place.names, place.uplinks = {}, set()
    for dev in found:
        place.learn(dev)
    return found


def read_link(channel: Channel, ifname: str, place: Place) -> tuple[int, Link | None] | None:
    """Return a device's ifindex and the device as an object (None if foreign), or None if the device does not exist."""
    body = channel.get(RTM.GETLINK, encode.get_link(ifname))
    if body is None:
        return None
    dev = devices.device(body)
    names: dict[int, str] = {}
    for index in {dev.master, 0 if dev.netnsid is not None else dev.peer} - {0}:
        answer = channel.get(RTM.GETLINK, encode.link_header(index) + _WITHOUT_STATISTICS)
        names |= {index: devices.device(answer).ifname} if answer is not None else {}
    return dev.index, devices.link(dev, msgspec.structs.replace(place, names=names))


def default_routes(channel: Channel, version: int) -> Iterator[int]:
    """Yield the output ifindex (0: none, or several) of each default route of the main table."""
    family = _AF_INET if version == 4 else _AF_INET6
    for body in _bodies(channel, RTM.GETROUTE, _family(family)):
        found = attrs(body, RTMSG.SIZE)
        if body[RTMSG.DST_LEN] == 0 and table_of(body, found) == RT_TABLE.MAIN:
            yield u32(found.get(RTA.OIF, b""))


def _devices(channel: Channel, found: list[devices.Device], place: Place) -> Iterator[KernelObject]:
    concerned = any(map(devices.has_neighbour_sysctls, found))
    tables = channel.read(RTM.GETNEIGHTBL, bytes(NDTMSG.SIZE), devices.neighbour_parms) if concerned else ()
    parms = dict(tables)
    for dev in found:
        objects = list(devices.device_objects(dev, place))
        if objects and isinstance(port := objects[0], VethPort) and home.displaced(dev, port, channel):
            objects = [IncompleteLink(vni=port.vni, ifname=port.ifname, seems=port)]
        yield from objects
        if objects and any(isinstance(obj, Settings) for obj in objects):  # the device is netorch's and complete
            assert isinstance(objects[0], Link)
            yield from devices.neighbour_sysctls(dev, objects[0], parms)


def _rules(channel: Channel, netns: str) -> Iterator[KernelObject]:
    """Yield rules. netorch's rule for the local table counts as missing while the kernel's own still precedes it."""
    for family in (_AF_INET, _AF_INET6):
        bodies = _bodies(channel, RTM.GETRULE, _family(family))
        rules = [decode.rule(body, netns) for body in bodies]
        stock = any(decode.is_stock_local(found) for found, ours in rules if not ours)
        yield from (found for found, ours in rules if ours and not (stock and found.table == RT_TABLE.LOCAL))
        others = (
            body for body, (found, ours) in zip(bodies, rules, strict=True) if not ours and not decode.is_stock_local(found)
        )
        yield from _present(foreign.rule(body, netns) for body in others)


def _bodies(channel: Channel, kind: int, body: bytes) -> list[bytes]:
    return [answer for _, _, answer in channel.dump(kind, body)]


def _family(family: int, length: int = RTMSG.SIZE) -> bytes:
    return bytes((family,)) + bytes(length - 1)


def _present(found: Iterable[_T | None]) -> Iterator[_T]:
    return (obj for obj in found if obj is not None)
