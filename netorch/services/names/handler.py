"""The handler of the name service: its sockets, and what each VPC's names are."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netorch.services.base import RefusedObject
from netorch.state.base import Key
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.names import NameListener


class Names:
    """Implements `netorch.services.base.Handler`."""

    kinds: Final = frozenset({NameListener.kind})

    def __init__(self, directory: Path) -> None:
        self._sockets: dict[Key, Sequence[socket.socket]] = {}

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Answer at these sockets."""
        if not isinstance(obj, NameListener):
            raise RefusedObject(f"{obj.text()} is no listener")
        await self.delete(obj)
        self._sockets[obj.key] = sockets

    async def delete(self, obj: ServiceObject) -> None:
        """Answer no longer."""
        for sock in self._sockets.pop(obj.key, ()):
            sock.close()
        await asyncio.sleep(0)
