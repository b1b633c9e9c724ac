"""The handler of the name service: its sockets, and the names of each VPC."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dns.rdata

from netorch.services.names.book import Book
from netorch.services.names.others import LOOK_EVERY_S, Others
from netorch.services.names.resolver import Resolver
from netorch.services.names.shares import Places
from netorch.services.names.transports import (
    CONNECTIONS,
    CONNECTIONS_OF_ALL,
    CONNECTIONS_OF_VPC,
    Stop,
    open_connections,
    open_datagrams,
)
from netorch.state.base import Key
from netorch.state.daemons.services.base import ServiceObject, SocketType
from netorch.state.daemons.services.names import NameListener, NameRecord, NameView, NameZone


class Names:
    """Implements `netorch.services.base.Handler`."""

    kinds: Final = frozenset(kind.kind for kind in (NameListener, NameView, NameZone, NameRecord))

    def __init__(self, directory: Path) -> None:
        dns.rdata.load_all_types(disable_dynamic_load=True)  # type: ignore[no-untyped-call]  # nothing can be imported later
        self._book = Book()
        self._resolver = Resolver(self._book)
        self._known: dict[Key, ServiceObject] = {}
        self._stops: dict[Key, list[Stop]] = {}
        self._connections = Places(CONNECTIONS, CONNECTIONS_OF_VPC, CONNECTIONS_OF_ALL)
        self._others = Others()
        self._looking: asyncio.Task[None] | None = None

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Answer on these sockets, or answer with this object."""
        await self.delete(obj)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        if isinstance(obj, NameListener):
            stops = self._stops[obj.key] = []
            for wanted, sock in zip(obj.sockets, sockets, strict=True):
                if wanted.type is SocketType.UDP:
                    stops.append(await open_datagrams(sock, obj.vni, self._resolver))
                else:
                    stops.append(await open_connections(sock, obj.vni, self._resolver, self._connections))
            return
        self._book.put(obj)
        self._resolver.forget(obj.vni)  # cached answers may start with the VPC's own aliases
        self._known[obj.key] = obj

    async def delete(self, obj: ServiceObject) -> None:
        """Stop answering on these sockets, or with this object."""
        for stop in self._stops.pop(obj.key, ()):
            stop()
        known = self._known.pop(obj.key, None)
        if known is not None:
            self._book.drop(known)
            self._resolver.forget(known.vni)

    async def _look(self) -> None:
        """Follow the files that name the servers."""
        while True:
            found = self._others.changed()
            if found is not None:
                self._book.others = found
                self._resolver.forget_all()
            await asyncio.sleep(LOOK_EVERY_S)
