"""What every object of netorch's own daemon says of itself.

An object is in the namespace that the daemon's process is in, because the process asks others from there: UNDERLAY on
hypervisors, OUTSIDE on edges. The sockets at which it serves instances are opened in other namespaces, by the driver, which gives
them to the process. So the process needs no privileges, and what it serves can be told from the socket alone.

A kind is a class here, a line in netorch.state.daemons.services.kinds, and a handler in netorch.services.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import msgspec

from netorch.state.base import OVERLAY, UNDERLAY, KernelObject, Key, link_key, namespace_key


class SocketType(Enum):
    """What comes by a socket. A further type is a line in netorch.drivers.services.sockets."""

    UDP = "udp"
    TCP = "tcp"  # listens
    STREAM = "stream"  # TCP, neither bound nor connected
    LOGGED = "logged"  # packets that nftables logs to the group of that number, of all devices
    FRAMES = "frames"  # nothing comes by it; it sends Ethernet frames by any device


class ServiceSocket(msgspec.Struct, frozen=True, gc=False):
    """A socket that an object is served by: what comes by one device, for one address and port, and nothing else.

    The address need not be one of the device's. `0.0.0.0` or `::` stands for whatever the device's VRF routes to this host, also
    for a whole prefix (`ip route add local PREFIX dev VRF`).
    """

    type: SocketType
    ifname: str
    address: str
    port: int
    netns: str = OVERLAY


class ServiceObject(KernelObject, frozen=True, kw_only=True):
    """Something that the daemon has been told: what to serve, or where."""

    in_place: ClassVar[bool] = True

    netns: str = UNDERLAY

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return the sockets that it is served by, in the order in which its handler gets them; most objects have none."""
        return ()

    @property
    def parent(self) -> Key | None:
        return namespace_key(self.netns)


class ServiceListener(ServiceObject, frozen=True, kw_only=True):
    """Where instances are served: sockets at a device of the overlay, a VRF for most.

    The device's VNI is what a socket tells of who asks. A socket stays with the device that it was opened for: if another one of
    the same name takes its place, nothing comes by it any more. So the listener goes with its device, and is made again. One that
    changes is closed before its successor opens, because both would have the same ports.
    """

    in_place: ClassVar[bool] = False

    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.ifname)

    @property
    def needs(self) -> Key | None:
        return link_key(self.ifname)
