"""The listening sockets of one endpoint. All their connections belong to this endpoint."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

from netorch.services.proxy import answers
from netorch.services.proxy.bodies import Bodies
from netorch.services.proxy.crowd import Client, Crowd, Use
from netorch.services.proxy.exchange import Exchange, Place
from netorch.services.proxy.journal.line import Line, time_of
from netorch.services.proxy.journal.log import AccessLog
from netorch.services.proxy.policies import Policies
from netorch.services.proxy.tls.tunnel import Tunnel
from netorch.services.proxy.upstream import Upstream
from netorch.services.proxy.wire.heads import NoHead, RequestHead, RequestHeads
from netorch.services.proxy.wire.stream import Stream
from netorch.state.daemons.services.proxy import ProxyEndpoint

_ACCEPTED: Final = 32  # connections at once, before other sockets get their turn
_PAUSE_S: Final = 1.0  # after an error of accept()
_END_S: Final = 60.0  # for open requests when the process ends
_NOT_HTTP: Final = "The request is not HTTP/1.1 to the letter."
_log = logging.getLogger(__name__)

Serve = Callable[[Stream, Client, tuple[str, int]], Awaitable[None]]


class Front:
    """Serves one endpoint."""

    def __init__(self, endpoint: ProxyEndpoint, policies: Policies, crowd: Crowd, bodies: Bodies, log: AccessLog) -> None:
        self._place = Place(endpoint, policies, Upstream(), bodies, asyncio.Lock())
        self._crowd = crowd
        self._log = log
        self._listening: list[socket.socket] = []
        self._clients: dict[asyncio.Task[None], tuple[Client, Stream]] = {}
        self._ends = False

    def listen(self, plain: socket.socket, tls: socket.socket) -> None:
        """Accept connections from two listening sockets."""
        for serve, sock in ((self._serve, plain), (self._tunnel, tls)):
            self._listening.append(sock)
            self._watch(sock, serve)

    def changed(self, endpoint: ProxyEndpoint) -> None:
        """Use a changed endpoint for further requests, if it has the same id."""
        if endpoint.id == self._place.endpoint.id:
            self._place = self._place._replace(endpoint=endpoint)

    def tidy(self, now: float) -> None:
        """Close unused connections to the server. `now` is in seconds, as from time.monotonic."""
        self._place.upstream.tidy(now)

    def close(self) -> None:
        """Close everything at once."""
        self._stop()
        self._crowd.cut(self._place.endpoint.id)
        self._place.upstream.close()

    async def end(self) -> None:
        """Accept no more connections, and return when the open requests have ended or the time is over."""
        self._stop()
        self._ends = True
        for client, stream in self._clients.values():
            if client.use is Use.WAITING:
                stream.close()
        working = [task for task, (client, _) in self._clients.items() if client.use is not Use.TUNNEL]
        if working:
            await asyncio.wait(working, timeout=_END_S)
        self.close()

    def _stop(self) -> None:
        for sock in self._listening:
            if sock.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(sock)
                sock.close()
        self._listening.clear()

    def _watch(self, sock: socket.socket, serve: Serve) -> None:
        if sock.fileno() >= 0:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock, serve)

    def _accept(self, sock: socket.socket, serve: Serve) -> None:
        for _ in range(_ACCEPTED):
            try:
                accepted, peer = sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                _log.warning("%s: accepts no connections for %g s: %s", self._place.endpoint.id, _PAUSE_S, error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(sock)
                loop.call_later(_PAUSE_S, self._watch, sock, serve)
                return
            accepted.setblocking(False)
            self._admit(Stream(accepted), peer, serve)

    def _admit(self, stream: Stream, peer: tuple[str, int], serve: Serve) -> None:
        client = Client(self._crowd, self._place.endpoint.id, stream.reset)
        if not self._crowd.admit(client):
            stream.reset()
            return
        task = asyncio.get_running_loop().create_task(self._run(stream, client, peer, serve))
        self._clients[task] = client, stream
        task.add_done_callback(self._clients.pop)
        stream.on_reset = task.cancel

    async def _run(self, stream: Stream, client: Client, peer: tuple[str, int], serve: Serve) -> None:
        try:
            with suppress(ConnectionError):
                await serve(stream, client, peer)
        except asyncio.CancelledError:
            if not stream.ended:
                raise
        except Exception as error:  # log the place, not the text: it may contain bytes of a client
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "an unknown place"
            _log.error("a connection ended: %s at %s", type(error).__name__, where)
        finally:
            self._crowd.leave(client)
            stream.on_reset = None
            stream.reset()

    async def _serve(self, stream: Stream, client: Client, peer: tuple[str, int]) -> None:
        """Answer the requests on a connection, one after the other."""
        goes_on = True
        while goes_on and not self._ends:
            try:
                came = await _head(stream, client)
            except NoHead:
                self._log.write(self._refused(peer[0]))
                stream.send(answers.error(400, "BadRequest", _NOT_HTTP, ends=True))
                break
            goes_on = await self._answer(came, stream, client, peer[0])
        await stream.finish()

    async def _answer(self, came: RequestHead, stream: Stream, client: Client, source: str) -> bool:
        exchange = Exchange(self._place, came, client, stream, source)
        task = asyncio.current_task()
        assert task is not None
        client.begin()
        stream.alert = partial(_leave, stream, task)
        try:
            return await exchange.run()
        finally:
            stream.alert = None
            client.end()
            self._log.write(exchange.line())

    async def _tunnel(self, stream: Stream, client: Client, peer: tuple[str, int]) -> None:
        await Tunnel(self._place.endpoint, self._place.policies, self._log, client, stream, peer).run()

    def _refused(self, source: str) -> Line:
        """Return the log line for an unparsable request."""
        return Line(
            time=time_of(datetime.now(UTC)),
            vpc=self._place.endpoint.vpc,
            endpoint=self._place.endpoint.id,
            source=source,
            status=400,
            reason="the request is not HTTP/1.1 to the letter",
            error="BadRequest",
        )


async def _head(stream: Stream, client: Client) -> RequestHead:
    """Return the head of the next request. Raises NoHead, ConnectionError."""
    heads, begun = RequestHeads(), False
    while True:
        if stream.buffer:
            if (found := heads.next(stream.buffer)) is not None:
                return found
            if not begun:
                begun = True
                client.head_begins()
        await stream.more()


def _leave(stream: Stream, task: asyncio.Task[None]) -> None:
    """Cancel the answer to a client that is gone."""
    if stream.ended:
        task.cancel()
