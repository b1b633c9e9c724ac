"""Changes in the kernel made by others, from route netlink's notifications.

Notifications of netorch's own changes of routes, rules, neighbours and addresses are filtered in the kernel by the socket's
port. Those of FDB entries have no port; those of devices have it in some kernels (6.1.y: for deletions; 6.2 and later: for
more). `drain` skips both kinds by name right after the changes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Collection, Container
from contextlib import suppress
from typing import Final

from netorch.drivers import bpf, ethtool, foreign
from netorch.drivers.base import Gone, KernelEvent, LearnedChanged, Lost, Seen
from netorch.drivers.netlink import F_APPEND, F_REPLACE, Channel, attrs, open_socket, split, u32
from netorch.drivers.rtnl import decode, devices, encode, learned, netconf
from netorch.drivers.rtnl.uapi import AF_BRIDGE, IFINFOMSG, IFLA, IFLA_EVENT_FEATURES, IFNAMSIZ, NDMSG, RTM, RTMSG, RTNLGRP
from netorch.state.base import HOST_SLICE, OUTSIDE, OVERLAY, KernelObject, Key, link_key, up_key
from netorch.state.foreign import Foreign
from netorch.state.link import IncompleteLink
from netorch.state.names import VPN_GATEWAY_NUMBER, is_private_end, vni_of_ifname, vrf_table
from netorch.state.owner import PROTOCOL

_GROUPS: Final = (
    RTNLGRP.LINK,
    RTNLGRP.NEIGH,
    RTNLGRP.IPV4_IFADDR,
    RTNLGRP.IPV4_ROUTE,
    RTNLGRP.IPV4_RULE,
    RTNLGRP.IPV6_IFADDR,
    RTNLGRP.IPV6_ROUTE,
    RTNLGRP.IPV6_RULE,
    RTNLGRP.IPV4_NETCONF,
    RTNLGRP.IPV6_NETCONF,
)
_BUFFER: Final = 128 << 20  # bytes; only a limit. 4,000 devices coming up at once need 40 MB
_RECV: Final = 1 << 16
_NAME: Final = IFINFOMSG.SIZE + 4  # after the first attribute's header


class Monitor:
    """Collects the events of one namespace until they are taken."""

    def __init__(self, netns_fd: int, channel: Channel, place: devices.Place) -> None:
        self.place = place
        self._up: set[str] = set()
        self._fallen: set[str] = set()  # went down; their IPv4 routes vanished without notification
        self._netns_fd = netns_fd
        self._channel = channel
        self._socket = open_socket(netns_fd, _mask(_GROUPS), _BUFFER)
        _ignore(self._socket, channel.port)
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._pending: dict[Key, KernelEvent] = {}
        self._learned: set[int] = set()  # tables with changed learned routes
        self._lost = False
        self._view = memoryview(bytearray(_RECV))
        self._epoll = select.epoll()
        for fd in (self._socket.fileno(), self._ready):
            self._epoll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are events to take."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close everything opened by this object."""
        self._epoll.close()
        self._socket.close()
        os.close(self._ready)

    def take(self) -> list[KernelEvent]:
        """Return events since the last call: the latest one of each object, or Lost, if everything must be dumped again."""
        self.drain()
        self._check_down()
        # Pending events are older than the requested dump.
        events: list[KernelEvent] = [Lost()] if self._lost else [*self._pending.values()]
        events += map(LearnedChanged, sorted(self._learned))
        self._lost = False
        self._pending = {}
        self._learned.clear()
        with suppress(BlockingIOError):
            os.eventfd_read(self._ready)
        return events

    def forget(self) -> None:
        """Drop queued events, because a dump is about to show the state."""
        self.drain()
        self._lost = False
        self._fallen.clear()
        self._pending = {}
        self.settle(())

    def drain(self, own_links: Container[str] = (), own_fdb: Container[int] = (), made: Container[str] = ()) -> dict[str, int]:
        """Read queued notifications, but skip those of own changes to these devices, and to the FDBs of these ifindexes.

        A device in `made` exists now, unless others have deleted it since. Return the ifindexes of skipped devices that
        exist: requesting them would cost more than this whole call.
        """
        numbers: dict[str, int] = {}
        ended: set[str] = set()
        while (data := self._receive()) is not None:
            for kind, flags, body in split(data):
                handler = _HANDLERS.get(kind)
                if handler is None:
                    continue
                if kind in _LINKS and own_links and (name := _name(body)) in own_links:
                    self._note_own(kind, body, name, numbers, ended)
                    continue
                if body[NDMSG.FAMILY] == AF_BRIDGE and own_fdb and struct.unpack_from("=I", body, NDMSG.IFINDEX)[0] in own_fdb:
                    continue
                handler(self, kind, flags, body)
        if ended:
            self._forget_on(ended)
        for name in ended:
            if name in made:
                self._lost = True
                self._note_end_of(name)
        return numbers

    def _note_own(self, kind: int, body: bytes, name: str, numbers: dict[str, int], ended: set[str]) -> None:
        if body[IFINFOMSG.FAMILY] != 0:
            return
        index: int = struct.unpack_from("=i", body, IFINFOMSG.INDEX)[0]
        if kind == RTM.NEWLINK:
            self.place.names[index] = name
            numbers[name] = index
            ended.discard(name)
            if self.place.netns == OUTSIDE:
                self.place.learn(devices.device(body))  # it may be an uplink that got its mark
        else:
            self.place.forget(index, name)
            numbers.pop(name, None)
            ended.add(name)
            self._up.discard(name)
            self._fallen.discard(name)

    def _forget_on(self, devices_gone: Collection[str]) -> None:
        """Drop earlier events of objects on these deleted devices, e.g. carrier events, which arrive late."""
        gone = {link_key(ifname, self.place.netns) for ifname in devices_gone}
        for key, event in tuple(self._pending.items()):
            if isinstance(event, Seen) and event.obj.parent in gone:
                del self._pending[key]

    def settle(self, keys: Collection[Key]) -> None:
        """Drop earlier events of objects that the agent has set since, and wake the reader if others are left."""
        for key in keys:
            self._pending.pop(key, None)
        if self._pending or self._lost or self._fallen or self._learned:
            os.eventfd_write(self._ready, 1)

    def learn(self, up: set[str]) -> None:
        """Record which of netorch's devices a dump showed as up."""
        self._up = up

    def note_up(self, ifname: str) -> None:
        """Record that netorch set a device up, so that it is noticed when it goes down."""
        self._up.add(ifname)

    def note_learned(self, table: int) -> None:
        """Record that learned routes of a table came or went. A dump shows none of them, so it does not clear this record."""
        self._learned.add(table)

    def lose(self) -> None:
        """Request a dump."""
        self._lost = True

    def _seen(self, obj: KernelObject) -> None:
        self._put(obj.key, Seen(obj))

    def _gone(self, key: Key, vni: int) -> None:
        self._put(key, Gone(key, vni))

    def _put(self, key: Key, event: KernelEvent) -> None:
        self._pending.pop(key, None)  # keeps the order of the latest events
        self._pending[key] = event

    def _receive(self) -> bytes | None:
        try:
            return bytes(self._view[: self._socket.recv_into(self._view, 0, socket.MSG_DONTWAIT)])
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._lost = True  # the kernel dropped some; the socket itself stays usable
            return b""

    def _check_down(self) -> None:
        """Request a dump if a device of netorch still exists, but is down.

        A port that another host takes over also goes down, some time before its DELLINK. The kernel answers a GETLINK only
        after the move is complete, so the answer distinguishes the two cases.
        """
        for ifname in tuple(self._fallen):
            if self._channel.get(RTM.GETLINK, encode.get_link(ifname)) is not None:
                self._lost = True
        if self._fallen:
            self.drain()
        self._fallen.clear()

    def _on_link(self, kind: int, _flags: int, body: bytes) -> None:
        dev = devices.device(body)
        if body[IFINFOMSG.FAMILY] != 0:  # sent by a bridge or IPv6 about the device, not by the device itself
            return
        if kind == RTM.DELLINK:
            self._on_link_gone(dev, moved=IFLA.NEW_NETNSID in attrs(body, IFINFOMSG.SIZE))
            return
        known, was_ours = self.place.names.get(dev.index), self.place.is_ours(dev.ifname)
        self.place.learn(dev)
        if (known is not None and known != dev.ifname) or (was_ours and not self.place.is_ours(dev.ifname)):
            self._lost = True  # renamed, or an uplink that has lost its mark
        netns = self.place.netns
        for each in (foreign.device(dev.ifname, netns), foreign.program(dev.ifname, netns)):  # unless reported again below
            self._gone(each.key, each.vni)
        objects = list(devices.device_objects(dev, self.place))
        for obj in objects:
            self._seen(obj)
        objects = [obj for obj in objects if not isinstance(obj, IncompleteLink)]
        if objects and dev.kind == "vxlan" and u32(attrs(body, IFINFOMSG.SIZE).get(IFLA.EVENT, b"")) == IFLA_EVENT_FEATURES:
            for gro in ethtool.read(self._netns_fd, [dev.ifname]):
                self._seen(gro)
        if not dev.up:
            self._note_end_of(dev.ifname)
        if not dev.up and (objects or dev.ifname in self._up):
            self._gone(up_key(dev.ifname, netns), self.place.vni_of(dev.ifname))
            if dev.ifname in self._up:
                self._fallen.add(dev.ifname)
        self._up.discard(dev.ifname)
        if dev.up:
            self._up.add(dev.ifname)

    def _on_link_gone(self, dev: devices.Device, *, moved: bool) -> None:
        ours, vni, netns = self.place.is_ours(dev.ifname), self.place.vni_of(dev.ifname), self.place.netns
        self.place.forget(dev.index, dev.ifname)
        self._up.discard(dev.ifname)
        if not ours:
            self._gone(foreign.device(dev.ifname, netns).key, HOST_SLICE)
            return
        self._gone(link_key(dev.ifname, netns), vni)
        self._gone(up_key(dev.ifname, netns), vni)
        self._note_end_of(dev.ifname)
        if moved:  # expected: another host took the port over, which sets it down first
            self._fallen.discard(dev.ifname)
            self._forget_on({dev.ifname})
        else:
            self._lost = True

    def _note_end_of(self, ifname: str) -> None:
        """Record that the routes via a device to a customer are gone; Linux sends no notification of that."""
        if is_private_end(ifname) and self.place.netns == OVERLAY:
            self.note_learned(vrf_table(vni_of_ifname(ifname), VPN_GATEWAY_NUMBER))

    def _on_address(self, kind: int, _flags: int, body: bytes) -> None:
        found = decode.address(body, self.place)
        if found is not None:
            self._seen(found) if kind == RTM.NEWADDR else self._gone(found.key, found.vni)
            if kind == RTM.DELADDR and ":" not in found.address:  # the device's last address may have taken routes with it
                self._lost = True

    def _on_route(self, kind: int, flags: int, body: bytes) -> None:
        self._on_foreign(kind == RTM.NEWROUTE, foreign.route(body, self.place.netns))
        table = learned.table_of_change(body) if self.place.netns == OVERLAY else None
        if table is not None:
            self.note_learned(table)
        ours = body[RTMSG.PROTOCOL] == PROTOCOL
        if not ours and not (kind == RTM.NEWROUTE and flags & (F_REPLACE | F_APPEND)):
            return
        if not ours:  # it may have replaced one of netorch's, or takes part of its packets
            body = body[: RTMSG.PROTOCOL] + bytes((PROTOCOL,)) + body[RTMSG.PROTOCOL + 1 :]
        found = decode.route(body, self.place)
        if found is not None:
            self._seen(found) if kind == RTM.NEWROUTE and ours else self._gone(found.key, found.vni)

    def _on_foreign(self, there: bool, obj: Foreign | None) -> None:
        if obj is not None:
            self._seen(obj) if there else self._gone(obj.key, obj.vni)

    def _on_neighbour(self, kind: int, _flags: int, body: bytes) -> None:
        if body[NDMSG.FAMILY] == AF_BRIDGE:
            entry = decode.fdb(body, self.place)
            if entry is not None:
                self._seen(entry) if kind == RTM.NEWNEIGH else self._gone(entry.key, entry.vni)
            return
        found = decode.neighbour(body, self.place)
        if found is not None:
            obj, permanent = found
            self._seen(obj) if kind == RTM.NEWNEIGH and permanent else self._gone(obj.key, obj.vni)

    def _on_rule(self, kind: int, _flags: int, body: bytes) -> None:
        obj, ours = decode.rule(body, self.place.netns)
        if ours:
            self._seen(obj) if kind == RTM.NEWRULE else self._gone(obj.key, obj.vni)
        elif not decode.is_stock_local(obj):
            self._on_foreign(kind == RTM.NEWRULE, foreign.rule(body, self.place.netns))
        elif kind == RTM.NEWRULE:
            self._lost = True  # the local table is first again

    def _on_netconf(self, _kind: int, _flags: int, body: bytes) -> None:
        for obj in netconf.sysctls(body, self.place):
            self._seen(obj)
        if netconf.deviates(body, self.place):
            self._lost = True


_LINKS: Final = frozenset({RTM.NEWLINK, RTM.DELLINK})
_HANDLERS: Final[dict[int, Callable[[Monitor, int, int, bytes], None]]] = {
    RTM.NEWLINK: Monitor._on_link,
    RTM.DELLINK: Monitor._on_link,
    RTM.NEWADDR: Monitor._on_address,
    RTM.DELADDR: Monitor._on_address,
    RTM.NEWROUTE: Monitor._on_route,
    RTM.DELROUTE: Monitor._on_route,
    RTM.NEWNEIGH: Monitor._on_neighbour,
    RTM.DELNEIGH: Monitor._on_neighbour,
    RTM.NEWRULE: Monitor._on_rule,
    RTM.DELRULE: Monitor._on_rule,
    RTM.NEWNETCONF: Monitor._on_netconf,
}


def _name(body: bytes) -> str:
    """Return the device's name from a link message: the kernel puts it first."""
    return body[_NAME : _NAME + IFNAMSIZ].split(b"\0", 1)[0].decode(errors="replace")


def _mask(groups: Collection[int]) -> int:
    return sum(1 << (group - 1) for group in groups)


def _ignore(sock: socket.socket, port: int) -> None:
    """Filter what that port caused, and netconf messages that only announce a new or deleted device.

    Notifications of devices pass even if the port caused them, since `drain` needs their ifindexes: some kernels set the port
    in some of them. Source: linux/filter.h, socket(7). A netconf message of 36 bytes reports one changed value.
    """
    program = (
        (bpf.LOAD_HALF, 0, 0, 4),  # nlmsg_type
        (bpf.JUMP_IF_EQUAL, 9, 0, _network_order("=H", RTM.NEWLINK)),
        (bpf.JUMP_IF_EQUAL, 8, 0, _network_order("=H", RTM.DELLINK)),
        (bpf.JUMP_IF_EQUAL, 6, 0, _network_order("=H", RTM.DELNETCONF)),
        (bpf.LOAD_WORD, 0, 0, 12),  # nlmsg_pid
        (bpf.JUMP_IF_EQUAL, 4, 0, _network_order("=I", port)),
        (bpf.LOAD_HALF, 0, 0, 4),
        (bpf.JUMP_IF_EQUAL, 0, 3, _network_order("=H", RTM.NEWNETCONF)),
        (bpf.LOAD_WORD, 0, 0, 0),  # nlmsg_len
        (bpf.JUMP_IF_EQUAL, 1, 0, _network_order("=I", 36)),
        bpf.IGNORE,
        bpf.PASS,
    )
    bpf.attach(sock, program)


def _network_order(layout: str, value: int) -> int:
    """Return a host-order number as a filter, which reads in network order, sees it."""
    return int.from_bytes(struct.pack(layout, value), "big")
