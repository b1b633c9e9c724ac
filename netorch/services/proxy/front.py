"""The listening sockets of one endpoint: what comes by them is of this endpoint, and of nobody else."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from netorch.services.proxy.bodies import Bodies
from netorch.services.proxy.crowd import Client, Crowd
from netorch.services.proxy.exchange import Exchange, Place
from netorch.services.proxy.journal.line import Line, time_of
from netorch.services.proxy.journal.log import AccessLog
from netorch.services.proxy.policies import Policies
from netorch.services.proxy.server import Server
from netorch.services.proxy.tls.tunnel import Tunnel
from netorch.services.proxy.upstream import Upstream
from netorch.state.daemons.services.proxy import ProxyEndpoint

_BACKLOG: Final = 128
_END_S: Final = 60.0  # for requests that are under way when the process ends


class Front:
    """Serves one endpoint."""

    def __init__(self, endpoint: ProxyEndpoint, policies: Policies, crowd: Crowd, bodies: Bodies, log: AccessLog) -> None:
        self._place = Place(endpoint, policies, Upstream(), bodies, asyncio.Lock())
        self._crowd = crowd
        self._log = log
        self._servers: list[asyncio.Server] = []
        self._web = Server(self._answer, self._refused)

    async def listen(self, plain: socket.socket, tls: socket.socket) -> None:
        """Take connections from two sockets that listen."""
        loop = asyncio.get_running_loop()
        for make, sock in ((self._plain, plain), (self._tls, tls)):
            self._servers.append(await loop.create_server(make, sock=sock, backlog=_BACKLOG))

    def changed(self, endpoint: ProxyEndpoint) -> None:
        """Answer further requests by this, if it is the same endpoint."""
        if endpoint.id == self._place.endpoint.id:
            self._place = self._place._replace(endpoint=endpoint)

    async def close(self) -> None:
        """Close everything at once."""
        self._stop()
        self._crowd.cut(self._place.endpoint.id)
        await self._place.upstream.close()

    async def end(self) -> None:
        """Take no further connections, and return when the requests that are under way have ended, within some time."""
        self._stop()
        self._web.pre_shutdown()  # ends those that are idle
        await self._web.shutdown(_END_S)
        await self.close()

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _plain(self) -> Client:
        return Client(self._crowd, self._place.endpoint.id, self._web())

    def _tls(self) -> Client:
        return Client(self._crowd, self._place.endpoint.id, Tunnel(self._place.endpoint, self._place.policies, self._log))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        client = transport.get_protocol()
        assert isinstance(client, Client)
        exchange = Exchange(self._place, request, client, transport.get_extra_info("peername")[0])
        client.begin()
        try:
            return await exchange.run()
        finally:
            client.end()
            self._log.write(exchange.line())

    def _refused(self, request: web.BaseRequest, status: int) -> None:
        """Note a request of which nothing is known but that it is none."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        line = Line(
            time=time_of(datetime.now(UTC)),
            vpc=self._place.endpoint.vpc,
            endpoint=self._place.endpoint.id,
            source=peer[0] if peer else "",
            status=status,
            reason="the request is not HTTP/1.1 to the letter",
            error="BadRequest",
        )
        self._log.write(line)
