"""The objects of the process, each with its handler and its sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from netorch.services.base import Counting, Ending, Handler, RefusedObject
from netorch.state.base import Key
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.wire import Counted

PATIENCE_S: Final = 1.0  # for a handler to put or delete an object; the process takes no other request meanwhile


class Objects:
    """The objects that the driver has put. An object that its handler has not accepted is not among them."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handler_of = {kind: handler for handler in handlers for kind in handler.kinds}
        self._held: dict[Key, tuple[ServiceObject, Sequence[socket.socket]]] = {}

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Serve an object.

        Raises:
          RefusedObject: no handler serves this kind, or its sockets are missing.
          Exception: whatever its handler raises.
        """
        handler = self._handler_of.get(obj.kind)
        if handler is None:
            raise RefusedObject(f"no handler serves objects of kind {obj.kind}")
        if len(sockets) != len(obj.sockets):
            raise RefusedObject(f"{obj.text()} has {len(obj.sockets)} sockets, and came with {len(sockets)}")
        self._held.pop(obj.key, None)
        await asyncio.wait_for(handler.put(obj, sockets), PATIENCE_S)
        self._held[obj.key] = obj, sockets

    async def delete(self, obj: ServiceObject) -> None:
        """Stop serving an object. Raises what its handler raises."""
        handler = self._handler_of.get(obj.kind)
        if self._held.pop(obj.key, None) is not None and handler is not None:
            await asyncio.wait_for(handler.delete(obj), PATIENCE_S)

    async def end(self) -> None:
        """Let the long-running work of the handlers end."""
        ending = {handler for handler in self._handler_of.values() if isinstance(handler, Ending)}
        await asyncio.gather(*(handler.end() for handler in ending))

    def counts(self) -> Iterator[Counted]:
        """Yield the counters of all handlers."""
        for handler in {handler for handler in self._handler_of.values() if isinstance(handler, Counting)}:
            for id, found in handler.counts().items():
                yield Counted(id, {name: count for name, count in found.items() if count})

    async def living(self) -> list[ServiceObject]:
        """Return the objects. Delete those with a dead socket first: one that is closed or whose device is gone."""
        dead = [obj for obj, sockets in self._held.values() if not _hears(obj, sockets)]
        for obj in dead:
            with suppress(Exception):  # the object is gone in any case
                await self.delete(obj)
        return [obj for obj, _ in self._held.values()]


def _hears(obj: ServiceObject, sockets: Sequence[socket.socket]) -> bool:
    return all(_device_of(sock) == wanted.ifname for wanted, sock in zip(obj.sockets, sockets, strict=True))


def _device_of(sock: socket.socket) -> str:
    """Return the device that a socket is bound to, or "" if the device is gone or the socket is closed."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.EBADF):
            raise
        return ""
