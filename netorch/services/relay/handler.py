"""The relay in netorch's own daemon: turns its objects into listening sockets, targets and connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from netorch.services.base import RefusedObject
from netorch.services.relay.front import Front
from netorch.services.relay.places import Places
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.relay import RelayListener, RelayTargets

_SWEEP_S: Final = 1.0
_END_S: Final = 60.0  # for open connections when the process ends


class Relay:
    """Implements `netorch.services.base.Handler`."""

    kinds: Final = frozenset((RelayListener.kind, RelayTargets.kind))

    def __init__(self, directory: Path) -> None:
        self._places = Places()
        self._targets: dict[str, RelayTargets] = {}  # by connection
        self._fronts: dict[str, Front] = {}  # likewise
        self._broom: asyncio.Task[None] | None = None

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Serve an object."""
        match obj:
            case RelayTargets():
                self._targets[obj.connection] = obj
                if obj.connection in self._fronts:
                    self._fronts[obj.connection].targets = obj
            case RelayListener():
                targets = self._targets.get(obj.connection)
                if targets is None:
                    raise RefusedObject(f"{obj.text()}: its targets are unknown")
                front = self._fronts[obj.connection] = Front(obj, targets, sockets, self._places)
                front.begin()
                if self._broom is None:
                    self._broom = asyncio.get_running_loop().create_task(self._sweep())

    async def delete(self, obj: ServiceObject) -> None:
        """Stop serving an object. The connections of a deleted listener are reset."""
        match obj:
            case RelayTargets():
                self._targets.pop(obj.connection, None)
            case RelayListener():
                front = self._fronts.pop(obj.connection, None)
                if front is not None:
                    front.close()

    async def end(self) -> None:
        """Accept no more connections, and return when the open ones have ended or the time is over."""
        for front in self._fronts.values():
            front.stop()
        over = time.monotonic() + _END_S
        while time.monotonic() < over and not all(front.is_quiet for front in self._fronts.values()):
            await asyncio.sleep(_SWEEP_S)
        for front in self._fronts.values():
            front.close()
        if self._broom is not None:
            self._broom.cancel()

    async def _sweep(self) -> None:
        while True:
            self._places.sweep(time.monotonic())
            await asyncio.sleep(_SWEEP_S)
