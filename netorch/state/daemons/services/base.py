"""The base of all objects of netorch's own daemon.

An object is in the namespace of the daemon's process, from where the process contacts other servers: UNDERLAY on
hypervisors, OUTSIDE on edges. The driver opens the sockets that serve instances in other namespaces, and passes them to
the process. So the process needs no privileges, and the socket alone identifies the VPC.

A kind is a class in this package, a line in netorch.state.daemons.services.kinds, and a handler in netorch.services.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

import msgspec

from netorch.state.base import OVERLAY, UNDERLAY, KernelObject, Key, link_key, namespace_key


class SocketType(Enum):
    """What a socket receives. A further type is a line in netorch.drivers.services.sockets."""

    UDP = "udp"
    TCP = "tcp"  # listens
    STREAM = "stream"  # TCP, neither bound nor connected
    LOGGED = "logged"  # packets that nftables logs to the group with this number, of all devices
    FRAMES = "frames"  # receives nothing; sends Ethernet frames on any device


class ServiceSocket(msgspec.Struct, frozen=True, gc=False):
    """A socket that serves an object. It receives only packets of one device for one address and port.

    The address need not be one of the device's. `0.0.0.0` or `::` stands for all addresses that the device's VRF routes
    to this host, even a whole prefix (`ip route add local PREFIX dev VRF`).
    """

    type: SocketType
    ifname: str
    address: str
    port: int
    netns: str = OVERLAY


class ServiceObject(KernelObject, frozen=True, kw_only=True):
    """An object of the daemon: what it serves, or where."""

    in_place: ClassVar[bool] = True

    netns: str = UNDERLAY

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return the sockets that serve it, in the order in which its handler gets them. Most objects have none."""
        return ()

    @property
    def parent(self) -> Key | None:
        return namespace_key(self.netns)


class ServiceListener(ServiceObject, frozen=True, kw_only=True):
    """Sockets that serve instances, bound to a device of the overlay, mostly a VRF.

    The device's VNI identifies the VPC behind a socket. A socket is bound to the device for which it was opened: if
    another device of the same name replaces that, the socket receives nothing any longer. So the listener is deleted
    with its device and recreated. A changed listener is closed before its successor opens, because both would have the
    same ports.
    """

    in_place: ClassVar[bool] = False

    ifname: str

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.ifname)

    @property
    def needs(self) -> Key | None:
        return link_key(self.ifname)
