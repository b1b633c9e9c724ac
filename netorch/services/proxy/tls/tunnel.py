"""TLS is passed on as it is: what the client and the service say to each other nobody in between reads.

Of a request nothing is known but the host name that the client asks for before encryption begins. A connection is let through if
whatever is said in it is permitted (netorch.services.proxy.policies), and cut when that is no longer so; the service behind is
told the endpoint (PROXY protocol).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from netorch.services import proxy_protocol
from netorch.services.proxy import limits
from netorch.services.proxy.crowd import Client, reset
from netorch.services.proxy.journal.line import Line, seconds_since, time_of
from netorch.services.proxy.journal.log import AccessLog
from netorch.services.proxy.policies import Policies
from netorch.services.proxy.tls.hello import NoHello, server_name
from netorch.state.daemons.services.proxy import ProxyEndpoint

_log = logging.getLogger(__name__)


class _End(asyncio.Protocol):
    """One end of a tunnel. What comes by it goes to the other end, which is no faster than whoever reads there."""

    def __init__(self, moved: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.count = 0  # bytes that have come
        self.ended = False  # whether no more will come
        self._moved = moved

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self._moved()
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool | None:
        if self.other is None or self.other.transport is None:
            return False
        self.ended = True
        self.other.transport.write_eof()
        if self.other.ended:
            self.other.transport.close()
        return not self.other.ended  # while the other direction goes on, so does the connection

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            if exc is None:
                self.other.transport.close()
            else:
                reset(self.other.transport)


class Tunnel(_End):
    """A client's end: it waits for the ClientHello, and makes the other end."""

    def __init__(self, endpoint: ProxyEndpoint, policies: Policies, log: AccessLog) -> None:
        super().__init__(self._touch)
        self._endpoint = endpoint
        self._policies = policies
        self._log = log
        self._hello = b""
        self._host = ""
        self._reason = "the client has gone"
        self._error = ""
        self._status = 0
        self._began = datetime.now(UTC)
        self._opening: asyncio.Task[None] | None = None
        self._source = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._source = transport.get_extra_info("peername")

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._hello += data
        try:
            host = server_name(self._hello)
        except NoHello as error:
            self._refuse(str(error), "BadRequest", 400)
            return
        if host is None or self.transport is None or self._opening is not None:
            return
        self._host = host
        verdict = self._policies.tunnel(host, self._endpoint)
        if verdict.refusal is not None:
            self._refuse(verdict.reason, verdict.refusal.code, verdict.refusal.status)
            return
        self._reason = verdict.reason
        self.transport.pause_reading()
        self._touch()
        self._opening = asyncio.get_running_loop().create_task(self._open(self.transport))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._opening is not None:
            self._opening.cancel()
        sent = self.other.count if self.other is not None else 0
        if self.other is not None and (now := self._policies.tunnel(self._host, self._endpoint)).refusal is not None:
            self._reason = now.reason  # it was cut because of this
        super().connection_lost(exc)
        self._log.write(
            Line(
                time=time_of(self._began),
                vpc=self._endpoint.vpc,
                endpoint=self._endpoint.id,
                source=self._source[0],
                status=self._status,
                reason=self._reason,
                error=self._error,
                method="TLS",
                host=self._host,
                received=self.count,
                sent=sent,
                seconds=seconds_since(self._began),
            )
        )

    async def _open(self, transport: asyncio.Transport) -> None:
        """Make the other end, and send what has come so far."""
        address, _, port = self._endpoint.tls.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limits.CONNECT_S):
                _, other = await loop.create_connection(lambda: _End(self._touch), address, int(port))
        except (OSError, TimeoutError) as error:
            self._refuse(f"the server behind does not answer: {error or type(error).__name__}", "ServiceUnavailable", 503)
            return
        assert other.transport is not None
        self._status = 200
        self.other, other.other = other, self
        self.count = len(self._hello)
        other.transport.write(
            proxy_protocol.header(self._source, transport.get_extra_info("sockname"), self._endpoint.id) + self._hello
        )
        self._hello = b""
        transport.resume_reading()
        self._touch()

    @property
    def _client(self) -> Client:
        assert self.transport is not None
        client = self.transport.get_protocol()
        assert isinstance(client, Client)
        return client

    def _touch(self) -> None:
        if self.transport is not None:
            self._client.tunnelled()

    def _refuse(self, reason: str, error: str, status: int) -> None:
        self._reason, self._error, self._status = reason, error, status
        if self.transport is not None:
            reset(self.transport)
