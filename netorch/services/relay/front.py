"""One connection of an endpoint to a service: its sockets accept consumers' TCP connections, each relayed to one target."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from netorch.services import proxy_protocol
from netorch.services.relay import limits
from netorch.services.relay.mill import Mill
from netorch.services.relay.places import Places
from netorch.services.relay.relayed import Relayed, bound_buffers, reset
from netorch.state.daemons.services.relay import RELAY_ADDRESS, RelayListener, RelayTargets, Target

log = logging.getLogger(__name__)

_ORIGINAL_DST: Final = 80  # SO_ORIGINAL_DST: a connection's destination before DNAT. Source: linux/netfilter_ipv4.h
_NO_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT: bind() picks no port, connect() picks one for the target. Source: linux/in.h
_SOCKADDR: Final = struct.Struct("!2xH4s8x")
_BATCH: Final = 16  # connections accepted in a turn of the event loop
_RETRY_S: Final = 0.1  # until the next accept() after a lack of descriptors or memory


class Front:
    """Relays the connections of one listener."""

    def __init__(self, listener: RelayListener, targets: RelayTargets, sockets: Sequence[socket.socket], places: Places) -> None:
        """Take the targets, the sockets of the listener, and the limits on connections."""
        listening, asking, *ports = sockets
        self._vni = listener.vni
        self._mill = Mill(listening, asking)
        self._ports = dict(zip(listener.ports, ports, strict=True))
        self._places = places
        self._turns: dict[int, int] = {}  # by port: the number of the next target
        self._relayed: set[Relayed] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.targets = targets

    def begin(self) -> None:
        """Start to accept connections."""
        loop = asyncio.get_running_loop()
        for port, sock in self._ports.items():
            loop.add_reader(sock, self._accept, port, sock)

    def stop(self) -> None:
        """Accept no more connections."""
        loop = asyncio.get_running_loop()
        for sock in self._ports.values():
            loop.remove_reader(sock)
            sock.close()
        self._ports.clear()

    def close(self) -> None:
        """Reset all connections, and close everything."""
        self.stop()
        for connection in tuple(self._relayed):
            connection.cut()
        for task in self._opening:
            task.cancel()
        self._mill.close()

    @property
    def is_quiet(self) -> bool:
        """Return whether there is no connection."""
        return not self._relayed

    def _accept(self, port: int, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_BATCH):
            try:
                client, source = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    loop.remove_reader(listening)
                    loop.call_later(_RETRY_S, self._resume, port, listening)
                    return
                continue  # the client is gone already
            client.setblocking(False)
            bound_buffers(client)
            connection = Relayed(self._vni, client, time.monotonic(), self)
            if not self._places.admit(connection, time.monotonic()):
                connection.cut()
                continue
            self._relayed.add(connection)
            task = loop.create_task(self._lead(port, connection, source))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _resume(self, port: int, listening: socket.socket) -> None:
        if port in self._ports:
            asyncio.get_running_loop().add_reader(listening, self._accept, port, listening)

    def moved(self, connection: Relayed) -> float:
        """Note traffic in a connection, and return the time."""
        self._places.moved(connection)
        return time.monotonic()

    def ended(self, connection: Relayed) -> None:
        """Note the end of a connection."""
        self._relayed.discard(connection)
        self._places.leave(connection)

    async def _lead(self, port: int, connection: Relayed, source: tuple[str, int]) -> None:
        """Connect a target for a connection, and reset the connection if there is none."""
        try:
            header = proxy_protocol.header(source, _original(connection.client), self.targets.endpoint)
            target = await self._opened(port)
        except BaseException as error:
            connection.cut()
            if not isinstance(error, OSError):
                raise
            log.info("%s port %d: %s", self.targets.connection, port, error)
            return
        connection.lead(target, header)

    async def _opened(self, port: int) -> socket.socket:
        """Return a connection to the next target, or to one of those after it if it does not accept. Raises OSError."""
        targets = dict(self.targets.targets).get(port, ())
        turn = self._turns[port] = self._turns.get(port, -1) + 1
        problem: OSError = ConnectionRefusedError("the service has no target")
        for step in range(min(limits.TRIES, len(targets))):
            try:
                return await self._connected(targets[(turn + step) % len(targets)])
            except OSError as error:
                problem = error
        raise problem

    async def _connected(self, target: Target) -> socket.socket:
        sock = await self._mill.make()
        try:
            bound_buffers(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.targets.ifname.encode())
            sock.setsockopt(socket.IPPROTO_IP, _NO_PORT, 1)
            sock.bind((RELAY_ADDRESS, 0))
            async with asyncio.timeout(limits.CONNECT_S):
                await asyncio.get_running_loop().sock_connect(sock, target)
        except BaseException:
            reset(sock)
            raise
        return sock


def _original(client: socket.socket) -> tuple[str, int]:
    """Return the endpoint's address and port to which a consumer connected."""
    port, address = _SOCKADDR.unpack(client.getsockopt(socket.IPPROTO_IP, _ORIGINAL_DST, _SOCKADDR.size))
    return socket.inet_ntoa(address), port
