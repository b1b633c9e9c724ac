"""Reading everything that is ours from route netlink. Cost: one dump for each kind of object, whatever their number."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from netorch.drivers import foreign, home
from netorch.drivers.netlink import Channel, attr_u32, attrs, u32
from netorch.drivers.rtnl import decode, encode
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
from netorch.state.base import KernelObject
from netorch.state.l3 import Route
from netorch.state.link import AdminUp, IncompleteLink, Link, Settings, VethPort
from netorch.state.owner import PROTOCOL

_T = TypeVar("_T")
_AF_INET, _AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_WITHOUT_STATISTICS = attr_u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)


class Dump(msgspec.Struct, frozen=True):
    """What a dump showed."""

    objects: list[KernelObject]
    names: dict[int, str]  # of all devices, by number
    up: set[str]  # names of our devices that are up


def read_all(channel: Channel) -> Dump:
    """Return our devices, sysctls of devices, addresses, rules, neighbours, FDB entries and routes of an overlay namespace.

    Raises:
      OSError: the kernel refused to show something.
    """
    devices = [decode.device(body) for _, _, body in channel.dump(RTM.GETLINK, encode.link_header() + _WITHOUT_STATISTICS)]
    names = {dev.index: dev.ifname for dev in devices}
    objects = list(_devices(channel, devices, names))
    objects += _present(decode.address(body, names) for body in _bodies(channel, RTM.GETADDR, bytes(IFADDRMSG.SIZE)))
    objects += _rules(channel)
    for body in _bodies(channel, RTM.GETNEIGH, bytes(NDMSG.SIZE)):
        found = decode.neighbour(body, names)
        if found is not None and found[1]:
            objects.append(found[0])
    objects += _present(decode.fdb(body, names) for body in _bodies(channel, RTM.GETNEIGH, _family(AF_BRIDGE)))
    for family in (_AF_INET, _AF_INET6):
        for body in _bodies(channel, RTM.GETROUTE, _family(family)):
            objects += _present((decode.route(body, names) or foreign.route(body),))
    return Dump(objects, names, {obj.ifname for obj in objects if isinstance(obj, AdminUp)})


def read_routes(channel: Channel, names: decode.Names) -> Iterator[Route]:
    """Yield our routes of all tables and both IP versions; the kernel itself leaves out the foreign ones."""
    for family in (_AF_INET, _AF_INET6):
        request = bytes((family, 0, 0, 0, 0, PROTOCOL)) + bytes(RTMSG.SIZE - RTMSG.PROTOCOL - 1)
        yield from _present(decode.route(body, names) for body in _bodies(channel, RTM.GETROUTE, request))


def read_names(channel: Channel) -> dict[int, str]:
    """Return the names of all devices, by number."""
    body = encode.link_header() + _WITHOUT_STATISTICS
    return {dev.index: dev.ifname for dev in (decode.device(answer) for answer in _bodies(channel, RTM.GETLINK, body))}


def read_link(channel: Channel, ifname: str) -> tuple[int, Link | None] | None:
    """Return a device's number and the device as an object (None when it is foreign), or None when there is no such device."""
    body = channel.get(RTM.GETLINK, encode.get_link(ifname))
    if body is None:
        return None
    dev = decode.device(body)
    names: dict[int, str] = {}
    for index in {dev.master, 0 if dev.netnsid is not None else dev.peer} - {0}:
        answer = channel.get(RTM.GETLINK, encode.link_header(index) + _WITHOUT_STATISTICS)
        names |= {index: decode.device(answer).ifname} if answer is not None else {}
    return dev.index, decode.link(dev, names)


def default_routes(channel: Channel, version: int) -> Iterator[int]:
    """Yield the device number (0: none, or several) of each default route of the main table."""
    family = _AF_INET if version == 4 else _AF_INET6
    for body in _bodies(channel, RTM.GETROUTE, _family(family)):
        found = attrs(body, RTMSG.SIZE)
        if body[RTMSG.DST_LEN] == 0 and table_of(body, found) == RT_TABLE.MAIN:
            yield u32(found.get(RTA.OIF, b""))


def _devices(channel: Channel, devices: list[decode.Device], names: decode.Names) -> Iterator[KernelObject]:
    parms = dict(decode.neighbour_parms(body) for body in _bodies(channel, RTM.GETNEIGHTBL, bytes(NDTMSG.SIZE)))
    for dev in devices:
        objects = list(decode.device_objects(dev, names))
        if objects and isinstance(port := objects[0], VethPort) and home.displaced(dev, port, channel):
            objects = [IncompleteLink(vni=port.vni, ifname=port.ifname, seems=port)]
        yield from objects
        if any(isinstance(obj, Settings) for obj in objects):  # the device is ours and complete
            yield from decode.neighbour_sysctls(dev, parms)


def _rules(channel: Channel) -> Iterator[KernelObject]:
    """Yield rules. Ours for the local table counts as missing while the kernel's own still stands in front of it."""
    for family in (_AF_INET, _AF_INET6):
        bodies = _bodies(channel, RTM.GETRULE, _family(family))
        rules = [decode.rule(body) for body in bodies]
        stock = any(decode.is_stock_local(found) for found, ours in rules if not ours)
        yield from (found for found, ours in rules if ours and not (stock and found.table == RT_TABLE.LOCAL))
        others = (
            body for body, (found, ours) in zip(bodies, rules, strict=True) if not ours and not decode.is_stock_local(found)
        )
        yield from _present(foreign.rule(body) for body in others)


def _bodies(channel: Channel, kind: int, body: bytes) -> list[bytes]:
    return [answer for _, _, answer in channel.dump(kind, body)]


def _family(family: int, length: int = RTMSG.SIZE) -> bytes:
    return bytes((family,)) + bytes(length - 1)


def _present(found: Iterable[_T | None]) -> Iterator[_T]:
    return (obj for obj in found if obj is not None)
