"""Sources of flow logs in a host's overlay and in gateways' namespaces: ended connections, living ones, dropped packets.

Sockets are only open while they are needed: a host without flow logs has no listener, and the kernel creates no events.
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
from netorch.errors import KernelError
from netorch.state.base import OVERLAY
from netorch.state.nft import FLOW_LOG_GROUP
from netorch.state.owner import netns_name, overlay_netns

_EVENTS, _DELIVERIES, _PORTIONS = 500, 20, 10  # limits of one `read`: about 10 ms


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace's traffic since the last read, and whether something was lost."""

    connections: tuple[Connection, ...] = ()
    dropped: tuple[DroppedPacket, ...] = ()
    lost: bool = False
    gateways: dict[str, Heard] = {}  # by label, for gateways' namespaces with traffic

    def __bool__(self) -> bool:
        return bool(self.connections or self.dropped or self.lost or self.gateways)


class FlowSources(Protocol):
    """The sources of flow logs."""

    def listen(self, zones: Collection[int], gateways: Collection[str] = ()) -> None:
        """Listen to these zones, and to these gateways' namespaces, from now on. Without any, close everything.

        Raises:
          KernelError: a namespace does not exist, or the kernel refuses.
        """
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something to return."""
        ...

    def walk(self) -> None:
        """Start reading the counters of living connections; `read` returns them in parts. Raises KernelError."""
        ...

    @property
    def walking(self) -> bool:
        """Return whether a walk has started and not finished."""
        ...

    def read(self) -> Heard:
        """Return a bounded part of what has arrived; never blocks."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...


class KernelFlows:
    """Implements FlowSources on a real kernel."""

    def __init__(self, host: str) -> None:
        """Take the name of the host, whose namespaces need not exist yet."""
        self._host = host
        self._open: dict[str, _Namespace] = {}  # by label
        self._epoll = select.epoll()

    def listen(self, zones: Collection[int], gateways: Collection[str] = ()) -> None:
        """Listen to these zones, and to these gateways' namespaces, from now on. Raises KernelError."""
        wanted: dict[str, Collection[int] | None] = dict.fromkeys(gateways)
        if zones:
            wanted[OVERLAY] = zones
        for label in self._open.keys() - wanted.keys():
            self._open.pop(label).close()
        for label, of_zones in wanted.items():
            if label in self._open:
                self._open[label].narrow(of_zones)
            else:
                name = overlay_netns(self._host) if label == OVERLAY else netns_name(self._host, label)
                self._open[label] = _Namespace(name, of_zones, self._epoll)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `read` has something to return."""
        return self._epoll.fileno()

    def walk(self) -> None:
        """Start reading the counters of living connections. Raises KernelError."""
        for found in self._open.values():
            found.walk()

    @property
    def walking(self) -> bool:
        """Return whether a walk has started and not finished."""
        return any(found.walking for found in self._open.values())

    def read(self) -> Heard:
        """Return a bounded part of what has arrived; never blocks."""
        heard = {label: found.read() for label, found in self._open.items()}
        overlay = heard.pop(OVERLAY, Heard())
        return msgspec.structs.replace(overlay, gateways={label: found for label, found in heard.items() if found})

    def close(self) -> None:
        """Close everything."""
        self.listen(())
        self._epoll.close()


_S = TypeVar("_S", FlowEvents, DroppedPackets, FlowDump)


class _Namespace:
    """The sockets in one namespace."""

    def __init__(self, name: str, zones: Collection[int] | None, epoll: select.epoll) -> None:
        """Listen; `zones` None means all zones. Raises KernelError."""
        self._epoll = epoll
        self._zones = zones
        self._ends: FlowEvents | None = None
        self._dropped: DroppedPackets | None = None
        self._walk: FlowDump | None = None
        self._fd = netns.find(name)
        try:
            self._dropped = self._watched(DroppedPackets(self._fd, FLOW_LOG_GROUP))
            self._ends = self._watched(FlowEvents(self._fd, Happening.END, zones))
        except (KernelError, OSError):
            self.close()
            raise

    def narrow(self, zones: Collection[int] | None) -> None:
        """Listen to these zones from now on. Raises OSError."""
        self._zones = zones
        if self._ends is not None:
            self._ends.narrow(zones)

    def walk(self) -> None:
        """Start a walk, unless one is in progress. Raises KernelError."""
        if self._walk is None:
            self._walk = self._watched(FlowDump(self._fd, self._zones, taking=True))

    @property
    def walking(self) -> bool:
        """Return whether a walk is in progress."""
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
        """Close everything."""
        for source in (self._ends, self._dropped, self._walk):
            if source is not None:
                source.close()
        os.close(self._fd)

    def _watched(self, source: _S) -> _S:
        self._epoll.register(source.fileno(), select.EPOLLIN)
        return source
