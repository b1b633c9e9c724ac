"""What flow logs are made of, from one host's overlay: connections that end, walks over those that live, dropped packets.

Everything is opened while it is wanted only: a host without flow logs has no listener, and the kernel tells nobody.
"""

from __future__ import annotations

import os
import select
from collections.abc import Collection
from typing import Protocol, TypeVar

import msgspec

from netorch.drivers import netns
from netorch.drivers.conntrack.attrs import Connection
from netorch.drivers.conntrack.events import FlowDump, FlowEvents, Happening
from netorch.drivers.conntrack.nflog import DroppedPacket, DroppedPackets
from netorch.state.nft import FLOW_LOG_GROUP

_EVENTS, _DELIVERIES, _PORTIONS = 500, 20, 10  # that one `read` takes at most: some 10 ms


_S = TypeVar("_S", FlowEvents, DroppedPackets, FlowDump)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened since the last time, and whether something was left out."""

    connections: tuple[Connection, ...] = ()
    dropped: tuple[DroppedPacket, ...] = ()
    lost: bool = False

    def __bool__(self) -> bool:
        return bool(self.connections or self.dropped or self.lost)


class FlowSources(Protocol):
    """Where flow logs come from."""

    def listen(self, zones: Collection[int]) -> None:
        """Hear of these zones from now on; of none: let go of everything. Raises KernelError."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something."""
        ...

    def walk(self) -> None:
        """Begin to ask what the living connections have counted; `read` returns it bit by bit. Raises KernelError."""
        ...

    @property
    def walking(self) -> bool:
        """Return whether a walk has begun and not come to its end."""
        ...

    def read(self) -> Heard:
        """Return a bounded part of what has arrived; never blocks."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class KernelFlows:
    """Implements FlowSources on a real kernel."""

    def __init__(self, overlay: str) -> None:
        """Use the namespace of that name, which need not be there before something is wanted of it."""
        self._overlay = overlay
        self._fd: int | None = None
        self._zones: frozenset[int] = frozenset()
        self._ends: FlowEvents | None = None
        self._dropped: DroppedPackets | None = None
        self._walk: FlowDump | None = None
        self._epoll = select.epoll()

    def listen(self, zones: Collection[int]) -> None:
        """Hear of these zones from now on; of none: let go of everything. Raises KernelError."""
        self._zones = frozenset(zones)
        if not zones:
            self._release()
        elif self._ends is not None:
            self._ends.narrow(zones)
        else:
            self._fd = netns.find(self._overlay) if self._fd is None else self._fd
            self._dropped = self._dropped or self._watched(DroppedPackets(self._fd, FLOW_LOG_GROUP))
            self._ends = self._watched(FlowEvents(self._fd, Happening.END, zones))

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something."""
        return self._epoll.fileno()

    def walk(self) -> None:
        """Begin to ask what the living connections have counted. Raises KernelError."""
        if self._fd is not None and self._walk is None:
            self._walk = self._watched(FlowDump(self._fd, self._zones, taking=True))

    @property
    def walking(self) -> bool:
        """Return whether a walk has begun and not come to its end."""
        return self._walk is not None

    def read(self) -> Heard:
        """Return a bounded part of what has arrived; never blocks."""
        connections: tuple[Connection, ...] = ()
        dropped: tuple[DroppedPacket, ...] = ()
        lost = False
        if self._ends is not None:
            ended = self._ends.read(_EVENTS)
            connections, lost = ended.connections, ended.lost
        if self._dropped is not None:
            told = self._dropped.read(_DELIVERIES)
            dropped, lost = told.packets, lost or told.lost > 0
        if self._walk is not None:
            living = self._walk.read(_PORTIONS)
            connections, lost = connections + living.connections, lost or living.lost
            if self._walk.done:
                self._walk.close()
                self._walk = None
        return Heard(connections=connections, dropped=dropped, lost=lost)

    def close(self) -> None:
        """Let go of everything."""
        self._release()
        self._epoll.close()

    def _watched(self, source: _S) -> _S:
        self._epoll.register(source.fileno(), select.EPOLLIN)
        return source

    def _release(self) -> None:
        for source in (self._ends, self._dropped, self._walk):
            if source is not None:
                source.close()
        self._ends = self._dropped = self._walk = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
