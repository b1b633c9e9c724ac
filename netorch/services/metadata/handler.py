"""The handler of metadata: only the VRF of the listening socket and the source address identify the instance."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netorch.services.base import RefusedObject
from netorch.services.metadata.answers import Answer, answer
from netorch.services.metadata.connection import Connection
from netorch.services.metadata.requests import Request
from netorch.services.pace import Pace
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.metadata import InstanceMetadata, MetadataListener

CONNECTIONS_MOST: Final = 16  # of one interface at a time
ANSWERS_PER_S: Final = 100  # to one interface, over all its connections
BURST: Final = 200  # of these at once: more than a client needs to read the whole tree
_KEY_BYTES: Final = 32
Place = tuple[str, str]


class Metadata:
    """Implements `netorch.services.base.Handler`."""

    kinds: Final = frozenset({MetadataListener.kind, InstanceMetadata.kind})

    def __init__(self, directory: Path) -> None:
        self._key = os.urandom(_KEY_BYTES)
        self._listening: dict[str, tuple[asyncio.Task[None], socket.socket]] = {}  # by VRF
        self._by_place: dict[Place, InstanceMetadata] = {}
        self._known: dict[str, InstanceMetadata] = {}  # by id
        self._open: dict[Connection, Place] = {}
        self._counts: Counter[Place] = Counter()
        self._paces: dict[Place, Pace] = {}

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on a socket, or answer an instance."""
        if isinstance(obj, InstanceMetadata):
            self._forget(obj.id)
            self._known[obj.id] = obj
            self._by_place |= dict.fromkeys(obj.places, obj)
        elif isinstance(obj, MetadataListener):
            await self.delete(obj)
            task = asyncio.get_running_loop().create_task(self._accept(obj.ifname, sockets[0]))
            self._listening[obj.ifname] = task, sockets[0]
        else:
            raise RefusedObject(f"{obj.text()} is not about metadata")

    async def delete(self, obj: ServiceObject) -> None:
        """Stop answering. A deleted listener's connections close at once, an instance's at the next request."""
        if isinstance(obj, InstanceMetadata):
            self._forget(obj.id)
        elif isinstance(obj, MetadataListener) and obj.ifname in self._listening:
            task, sock = self._listening.pop(obj.ifname)
            task.cancel()
            sock.close()
            for connection in [found for found, (vrf, _) in self._open.items() if vrf == obj.ifname]:
                connection.close()

    def _forget(self, instance: str) -> None:
        known = self._known.pop(instance, None)
        for place in known.places if known is not None else ():
            if self._by_place.get(place) is known:
                del self._by_place[place]
                self._paces.pop(place, None)

    async def _accept(self, vrf: str, listening: socket.socket) -> None:
        """Accept connections for ever. Close those of unknown sources and those beyond an interface's limit."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, (address, _) = await loop.sock_accept(listening)
            except OSError:  # the client is gone already, or the process has no free descriptor
                await asyncio.sleep(0.05)
                continue
            place = (vrf, address)
            if place not in self._by_place or self._counts[place] >= CONNECTIONS_MOST:
                accepted.close()
                continue
            self._counts[place] += 1
            try:
                await loop.connect_accepted_socket(lambda place=place: self._connection(place), accepted)  # type: ignore[misc]
            except OSError:
                self._counts[place] -= 1
                accepted.close()

    def _connection(self, place: Place) -> Connection:
        def answered(request: Request) -> Answer | None:
            found = self._by_place.get(place)
            return answer(found, request, self._key, time.monotonic()) if found is not None else None

        pace = self._paces.setdefault(place, Pace(BURST, ANSWERS_PER_S, time.monotonic()))
        made = Connection(answered, lambda: pace.take(time.monotonic()), self._ended)
        self._open[made] = place
        return made

    def _ended(self, connection: Connection) -> None:
        place = self._open.pop(connection)
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._counts[place]
