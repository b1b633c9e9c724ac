"""Generic receive offload (GRO) of devices through ethtool's ioctls: route netlink cannot set a device's features."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator
from ctypes import addressof, create_string_buffer
from typing import Final

from netorch.drivers import netns
from netorch.drivers.netlink import ABSENT
from netorch.errors import KernelError
from netorch.state.link import Gro
from netorch.state.names import vni_of_ifname
from netorch.state.op import Delete, Failure, Op, describe

# Source: linux/sockios.h, linux/ethtool.h, netdevice(7)
_SIOCETHTOOL: Final = 0x8946
_GET_GRO, _SET_GRO = 0x2B, 0x2C
_IFREQ = struct.Struct("@16sP16x")
_VALUE = struct.Struct("=II")  # command, data


def apply(fd: int, ops: Iterable[Op]) -> list[Failure]:
    """Set GRO of devices in the namespace of `fd` and return the refused operations. A deletion does nothing."""
    failures: list[Failure] = []
    with _socket(fd) as sock:
        for op in ops:
            obj = op.obj
            if not isinstance(obj, Gro):
                raise TypeError(f"{type(obj).__name__} is not an offload")
            if isinstance(op, Delete):
                continue
            try:
                _call(sock, obj.ifname, _SET_GRO, int(obj.on))
            except OSError as error:
                failures.append(Failure(op, KernelError(describe(op), error.errno or 0)))
    return failures


def read(fd: int, ifnames: Iterable[str]) -> Iterator[Gro]:
    """Yield the GRO setting of these devices; devices that have disappeared are skipped. Cost: one ioctl each.

    Raises:
      OSError: the kernel refused.
    """
    with _socket(fd) as sock:
        for ifname in ifnames:
            try:
                yield Gro(vni=vni_of_ifname(ifname), ifname=ifname, on=bool(_call(sock, ifname, _GET_GRO)))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise


def _socket(fd: int) -> socket.socket:
    with netns.inside(fd):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _call(sock: socket.socket, ifname: str, command: int, data: int = 0) -> int:
    value = create_string_buffer(_VALUE.pack(command, data), _VALUE.size)
    fcntl.ioctl(sock, _SIOCETHTOOL, _IFREQ.pack(ifname.encode(), addressof(value)))
    result: int = _VALUE.unpack(value.raw)[1]
    return result
