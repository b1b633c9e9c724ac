"""The control socket: the driver puts, deletes and dumps objects. See netorch.state.daemons.services.wire."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import msgspec

from netorch import __version__
from netorch.services.base import RefusedObject
from netorch.services.held import Objects
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.wire import (
    INVALID,
    PACKET,
    SOCKETS,
    Answer,
    Greeting,
    Held,
    Malformed,
    Packet,
    Request,
    decode,
    encode,
    object_of,
)

log = logging.getLogger(__name__)


class Control:
    """Answers the driver's requests one after the other, across all connections."""

    def __init__(self, listening: socket.socket, objects: Objects) -> None:
        """Take a listening, non-blocking socket."""
        self._listening = listening
        self._objects = objects
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Accept connections and answer their requests for ever."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listening)
            task = loop.create_task(self._converse(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _converse(self, connection: socket.socket) -> None:
        with closing(connection):
            try:
                await _send(connection, Greeting(__version__))
                while await self._answer_next(connection):
                    pass
            except OSError as error:
                log.debug("the driver closed the connection: %s", error)
            except Malformed:
                log.exception("the driver sent an invalid message")

    async def _answer_next(self, connection: socket.socket) -> bool:
        """Answer the next request. Return False if the driver has closed the connection."""
        raw, sockets = await _receive(connection)
        if not raw:
            return False
        request = decode(raw)
        if not isinstance(request, Request):
            raise Malformed(f"a {type(request).__name__} is not a request")
        async with self._turn:
            await _send(connection, await self._answer(connection, request, sockets))
        return True

    async def _answer(self, connection: socket.socket, request: Request, sockets: Sequence[socket.socket]) -> Answer:
        """Send all packets that precede the answer, and return the answer."""
        match request.command:
            case "dump":
                for obj in await self._objects.living():
                    await _send(connection, Held(obj.kind, msgspec.Raw(msgspec.json.encode(obj))))
            case "count":
                for counted in self._objects.counts():
                    await _send(connection, counted)
            case "put" | "delete":
                return await self._carry_out(request, sockets)
        return Answer()

    async def _carry_out(self, request: Request, sockets: Sequence[socket.socket]) -> Answer:
        try:
            obj = object_of(request)
            if request.command == "put":
                await self._put(obj, sockets)
            else:
                await self._objects.delete(obj)
        except (RefusedObject, Malformed) as error:
            return Answer(str(error), INVALID)
        except OSError as error:
            return Answer(error.strerror or str(error), error.errno or errno.EIO)
        except Exception as error:  # an error in one handler must not affect others or end the process
            log.exception("%s %s", request.command, request.kind)
            return Answer(f"{type(error).__name__}: {error}", errno.EIO)
        return Answer()

    async def _put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        try:
            await self._objects.put(obj, sockets)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise


async def _ready(connection: socket.socket, writes: bool) -> None:
    """Wait until a connection is readable or writable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if writes else (loop.add_reader, loop.remove_reader)
    add(connection, ready.set)
    try:
        await ready.wait()
    finally:
        remove(connection)


async def _receive(connection: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """Return a packet and the sockets that came with it. The packet is empty if the driver has closed the connection."""
    while True:
        try:
            raw, fds, _, _ = socket.recv_fds(connection, PACKET, SOCKETS)
        except BlockingIOError:
            await _ready(connection, writes=False)
            continue
        sockets = [socket.socket(fileno=fd) for fd in fds]
        for sock in sockets:
            sock.setblocking(False)
            sock.set_inheritable(False)
        return raw, sockets


async def _send(connection: socket.socket, packet: Packet) -> None:
    raw: Final = encode(packet)
    while True:
        try:
            connection.send(raw)
        except BlockingIOError:
            await _ready(connection, writes=True)
        else:
            return
