"""A TCP proxy in front of a member of etcd: the network between a host and its store, which a test breaks as it likes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Final

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Proxy:
    """Passes connections on to a place on loopback, until told otherwise. A change ends no connection unless it says so."""

    def __init__(self, port: int, listener: socket.socket | None = None) -> None:
        """Take the member's port, and a socket that listens, if that is to be in another network namespace."""
        self._port = port
        self._refuses = False
        self._delay_s = 0.0
        self._most: int | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._passes.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        listener = listener or socket.create_server(("127.0.0.1", 0))
        self._server = self._run(asyncio.start_server(self._accept, sock=listener))
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def forward(self) -> None:
        """Pass everything on at once."""
        self._set(refuses=False, delay_s=0.0, most=None, passes=True)

    def refuse(self) -> None:
        """Reset all connections, also new ones: the member's process is gone."""
        self._set(refuses=True, delay_s=0.0, most=None, passes=True)
        self.reset()

    def hold(self) -> None:
        """Accept everything and pass on nothing: a dead cable, or a member that stands still."""
        self._set(refuses=False, delay_s=0.0, most=None, passes=False)

    def delay(self, seconds: float) -> None:
        """Pass everything on late."""
        self._set(refuses=False, delay_s=seconds, most=None, passes=True)

    def cut(self, most: int) -> None:
        """Reset all connections, and each new one after some bytes."""
        self._set(refuses=False, delay_s=0.0, most=most, passes=True)
        self.reset()

    def reset(self) -> None:
        """Reset the present connections."""
        self._run(self._reset())

    def close(self) -> None:
        """End."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def _set(self, *, refuses: bool, delay_s: float, most: int | None, passes: bool) -> None:
        async def change() -> None:
            self._refuses, self._delay_s, self._most = refuses, delay_s, most
            (self._passes.set if passes else self._passes.clear)()

        self._run(change())

    async def _reset(self) -> None:
        for writer in list(self._connections):
            _abort(writer)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refuses:
            _abort(writer)
            return
        ends = {writer}
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                inward, outward = await asyncio.open_connection("127.0.0.1", self._port)
                ends.add(outward)
                self._connections |= ends
                left = [self._most]
                pumps = [self._pump(reader, outward, left), self._pump(inward, writer, left)]
                await asyncio.wait([asyncio.ensure_future(pump) for pump in pumps], return_when=asyncio.FIRST_COMPLETED)
        finally:  # also if the member is down
            self._connections -= ends
            for end in ends:
                _abort(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int | None]) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._passes.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if left[0] is not None:
                    left[0] -= len(data)
                    if left[0] < 0:
                        return
                writer.write(data)
                await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
