"""The handler of DHCP: it reads the packets that the kernel has logged, and replies by the port of the client.

A request without a source address belongs to the port that it came by. A request with a source address came by a VRF.
The port's chain has checked the address, so the request belongs to the interface with this address in the VRF.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netorch.model.addr import packed
from netorch.services.base import RefusedObject
from netorch.services.dhcp.answers import answer
from netorch.services.dhcp.frames import ANYBODY, NOBODY, Heard, frame, heard
from netorch.services.dhcp.message import Kind, Malformed, Reply, decode, encode
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.dhcp import DhcpEar, DhcpLease

log = logging.getLogger(__name__)

_READ: Final = 1 << 16
_AT_ONCE: Final = 32  # deliveries; then other handlers run
_SIOCGIFNAME: Final = 0x8910
_IFNAME: Final = 16


class Dhcp:
    """Implements `netorch.services.base.Handler`."""

    kinds: Final = frozenset({DhcpEar.kind, DhcpLease.kind})

    def __init__(self, directory: Path) -> None:
        self._sockets: Sequence[socket.socket] = ()
        self._by_port: dict[str, DhcpLease] = {}
        self._by_address: dict[tuple[str, bytes], DhcpLease] = {}

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Receive requests on these sockets, or answer the requests of a port."""
        await self.delete(obj)
        if isinstance(obj, DhcpLease):
            self._by_port[obj.ifname] = obj
            self._by_address[obj.vrf, packed(obj.address)] = obj
        elif isinstance(obj, DhcpEar):
            self._sockets = sockets
            asyncio.get_running_loop().add_reader(sockets[0], self._hear)
        else:
            raise RefusedObject(f"{obj.text()} is not about DHCP")

    async def delete(self, obj: ServiceObject) -> None:
        """Stop receiving on the sockets, or stop answering a port."""
        if isinstance(obj, DhcpLease):
            known = self._by_port.pop(obj.ifname, None)
            if known is not None and self._by_address.get(place := (known.vrf, packed(known.address))) is known:
                del self._by_address[place]
        elif self._sockets:
            asyncio.get_running_loop().remove_reader(self._sockets[0])
            for sock in self._sockets:
                sock.close()
            self._sockets = ()

    def _hear(self) -> None:
        """Answer the received requests. The client repeats a request that the kernel had no room for."""
        for _ in range(_AT_ONCE):
            try:
                delivery = self._sockets[0].recv(_READ)
            except BlockingIOError:
                return
            except OSError as error:  # ENOBUFS: the kernel has dropped some
                log.debug("requests are lost: %s", error)
                continue
            for question in heard(delivery):
                self._answer(question)

    def _answer(self, question: Heard) -> None:
        device = self._name(question.index)
        lease = self._by_port.get(device) if question.source == NOBODY else self._by_address.get((device, question.source))
        if lease is None:
            return
        try:
            request = decode(question.message)
        except Malformed as error:
            log.debug("%s sent an invalid message: %s", lease.ifname, error)
            return
        reply = answer(lease, request)
        if reply is None:
            return
        sent = frame(encode(reply, request.size), reply.mac, packed(lease.router), _receiver(reply))
        try:
            self._sockets[1].sendto(sent, (lease.ifname, 0))
        except OSError as error:  # the port is gone, or its queue is full: the client repeats the request
            log.debug("%s is not answered: %s", lease.ifname, error)

    def _name(self, index: int) -> str:
        """Return a device's current name in the namespace of the sockets, or "" if the device is gone."""
        try:
            answered = fcntl.ioctl(self._sockets[1], _SIOCGIFNAME, struct.pack("=16si20x", b"", index))
        except OSError:
            return ""
        return answered[:_IFNAME].split(b"\0", 1)[0].decode(errors="replace")


def _receiver(reply: Reply) -> bytes:
    """Return the destination address of a reply (RFC 2131 section 4.1): a client that has an address gets unicast."""
    if reply.kind is Kind.NAK:
        return ANYBODY
    if reply.client != NOBODY:
        return reply.client
    return ANYBODY if reply.broadcast else reply.yours
