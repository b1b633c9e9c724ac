"""The proxy in netorch's own daemon: turns its objects into listening sockets, policies and connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from netorch.services.base import RefusedObject
from netorch.services.proxy.bodies import Bodies
from netorch.services.proxy.crowd import Crowd
from netorch.services.proxy.front import Front
from netorch.services.proxy.journal.log import AccessLog
from netorch.services.proxy.policies import Policies
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener

_SWEEP_S: Final = 1.0
_TIDY_S: Final = 3600.0


class Proxy:
    """Implements `netorch.services.base.Handler`."""

    kinds: Final = frozenset((ProxyListener.kind, ProxyEndpoint.kind, ProxyBucket.kind))

    def __init__(self, directory: Path) -> None:
        """Take the directory of the access logs."""
        self._log = AccessLog(directory)
        self._policies = Policies()
        self._crowd = Crowd(time.monotonic, self._vpc_of)
        self._bodies = Bodies()
        self._endpoints: dict[str, ProxyEndpoint] = {}
        self._fronts: dict[str, Front] = {}  # by device
        self._broom: asyncio.Task[None] | None = None

    async def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Serve an object."""
        match obj:
            case ProxyBucket():
                self._policies.put_bucket(obj)
                self._crowd.cut_tunnels(self._policies.permits_tunnels)
            case ProxyEndpoint():
                self._policies.put_endpoint(obj)
                self._crowd.cut_tunnels(self._policies.permits_tunnels)
                self._endpoints[obj.id] = obj
                for front in self._fronts.values():
                    front.changed(obj)
            case ProxyListener():
                endpoint = self._endpoints.get(obj.endpoint)
                if endpoint is None:
                    raise RefusedObject(f"{obj.text()}: this endpoint is unknown")
                self._listen(obj.ifname, endpoint, sockets)

    async def delete(self, obj: ServiceObject) -> None:
        """Stop serving an object. The connections of a deleted listener are reset: its VRF is deleted with it."""
        match obj:
            case ProxyBucket():
                self._policies.drop_bucket(obj)
            case ProxyEndpoint():
                self._policies.drop_endpoint(obj)
                self._crowd.cut_tunnels(self._policies.permits_tunnels)
                self._endpoints.pop(obj.id, None)
                self._log.counts.forget(obj.id)
                self._crowd.forget(obj.id)
            case ProxyListener():
                front = self._fronts.pop(obj.ifname, None)
                if front is not None:
                    front.close()

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counters of each endpoint since the start of the process, by id."""
        found = {id: Counter(self._log.counts.of(id)) for id in self._endpoints}
        for id, more in self._crowd.counts().items():
            if id in found:
                found[id].update(more)
        return found

    async def end(self) -> None:
        """Accept no more connections, and return when the open requests have ended."""
        await asyncio.gather(*(front.end() for front in self._fronts.values()))
        self._fronts.clear()
        self._log.let_go()
        if self._broom is not None:
            self._broom.cancel()

    def _listen(self, ifname: str, endpoint: ProxyEndpoint, sockets: Sequence[socket.socket]) -> None:
        front = Front(endpoint, self._policies, self._crowd, self._bodies, self._log)
        front.listen(*sockets)
        self._fronts[ifname] = front
        if self._broom is None:
            self._broom = asyncio.get_running_loop().create_task(self._sweep())

    def _vpc_of(self, endpoint: str) -> str:
        found = self._endpoints.get(endpoint)
        return found.vpc if found is not None else endpoint

    async def _sweep(self) -> None:
        tidied = 0.0
        while True:
            self._crowd.sweep()
            self._log.let_go()
            for front in self._fronts.values():
                front.tidy(time.monotonic())
            if time.monotonic() > tidied:
                self._log.tidy(time.time(), self._endpoints.keys())
                tidied = time.monotonic() + _TIDY_S
            await asyncio.sleep(_SWEEP_S)
