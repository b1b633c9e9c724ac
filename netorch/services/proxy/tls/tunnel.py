"""Forwards TLS unchanged. The proxy cannot read the traffic between the client and the service.

The proxy knows only the host name that the client sends before the encryption starts. It lets a connection through if
any request in it is permitted (netorch.services.proxy.policies), and cuts the connection when that no longer holds. The
server learns the endpoint's id from the PROXY protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from netorch.services import proxy_protocol
from netorch.services.proxy.crowd import Client
from netorch.services.proxy.head import Refusal
from netorch.services.proxy.journal.line import Line, seconds_since, time_of
from netorch.services.proxy.journal.log import AccessLog
from netorch.services.proxy.policies import Policies
from netorch.services.proxy.tls.hello import NoHello, server_name
from netorch.services.proxy.upstream import connect
from netorch.services.proxy.wire.pump import Pump
from netorch.services.proxy.wire.stream import Ended, Stream
from netorch.state.daemons.services.proxy import ProxyEndpoint

_ENDLESS: Final = 1 << 62  # bytes


class Tunnel:
    """A client's connection, and the one to the server."""

    def __init__(
        self,
        endpoint: ProxyEndpoint,
        policies: Policies,
        log: AccessLog,
        client: Client,
        stream: Stream,
        source: tuple[str, int],
    ) -> None:
        """Take the client's address and port as the source of its connection."""
        self._endpoint = endpoint
        self._policies = policies
        self._log = log
        self._client = client
        self._stream = stream
        self._source = source
        self._host = ""
        self._reason = "the client has gone"
        self._error = ""
        self._status = 0
        self._received = self._sent = 0
        self._began = datetime.now(UTC)

    async def run(self) -> None:
        """Wait for the ClientHello, then forward everything. Raises ConnectionError."""
        server = None
        try:
            self._host = await self._hello()
            verdict = self._policies.tunnel(self._host, self._endpoint)
            self._reason = verdict.reason
            if verdict.refusal is not None:
                raise verdict.refusal
            self._client.tunnelled()
            server = await self._connected()
            self._status = 200
            await self._pass_on(server)
            self._stream.close()
            server.close()
        except Refusal as refusal:
            self._reason, self._error, self._status = refusal.reason or refusal.message, refusal.code, refusal.status
        finally:
            if server is not None:
                server.reset()
                if (now := self._policies.tunnel(self._host, self._endpoint)).refusal is not None:
                    self._reason = now.reason  # this is why the tunnel was cut
            self._log.write(self._line())

    async def _hello(self) -> str:
        """Return the host name in the ClientHello. Raises Refusal, ConnectionError."""
        begun = False
        while True:
            try:
                host = server_name(bytes(self._stream.buffer))
            except NoHello as error:
                raise Refusal(400, "BadRequest", str(error)) from error
            if host is not None:
                return host
            if self._stream.buffer and not begun:
                begun = True
                self._client.head_begins()
            await self._stream.more()

    async def _connected(self) -> Stream:
        try:
            return await connect(self._endpoint.tls)
        except OSError as error:
            why = f"the server behind does not answer: {error or type(error).__name__}"
            raise Refusal(503, "ServiceUnavailable", why) from error

    async def _pass_on(self, server: Stream) -> None:
        """Forward both directions until both have ended. Raises ConnectionError."""
        stream = self._stream
        hello = stream.taken(len(stream.buffer))
        self._took(len(hello))
        told = proxy_protocol.header(self._source, stream.local(), self._endpoint.id)
        await server.flush(server.send(told + hello))
        back = asyncio.get_running_loop().create_task(self._one_way(server, stream, self._gave))
        try:
            await self._one_way(stream, server, self._took)
            await back
        finally:
            back.cancel()

    async def _one_way(self, source: Stream, target: Stream, moved: Callable[[int], None]) -> None:
        try:
            while piece := source.taken(len(source.buffer)):  # more is read ahead while this is sent
                await target.flush(target.send(piece))
                moved(len(piece))
            await Pump(source, target, _ENDLESS, moved).run()
        except Ended:
            if not source.ended or source.broken:
                target.reset()
                raise
            target.end_writing()

    def _took(self, count: int) -> None:
        self._received += count
        self._client.tunnelled()

    def _gave(self, count: int) -> None:
        self._sent += count
        self._client.tunnelled()

    def _line(self) -> Line:
        return Line(
            time=time_of(self._began),
            vpc=self._endpoint.vpc,
            endpoint=self._endpoint.id,
            source=self._source[0],
            status=self._status,
            reason=self._reason,
            error=self._error,
            method="TLS",
            host=self._host,
            received=self._received,
            sent=self._sent,
            seconds=seconds_since(self._began),
        )
