"""The control socket of netorch's own daemon, on the driver's side. See netorch.state.daemons.services.wire."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence

from netorch import __version__
from netorch.drivers.daemons.connection import Connection, DaemonError
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.wire import (
    PACKET,
    Answer,
    Counted,
    Greeting,
    Held,
    Malformed,
    Packet,
    Request,
    decode,
    encode,
    object_of,
)


class ServicesError(DaemonError):
    """The daemon cannot be started, does not answer, or refuses an object."""


class Busy(ServicesError):
    """The daemon has not answered in time, but makes progress: ask again later instead of killing it."""


class Control(Connection):
    """A connection to the daemon. All methods raise ServicesError."""

    daemon = "netorch.services"
    failure = ServicesError
    socket_type = socket.SOCK_SEQPACKET

    def greet(self) -> None:
        """Read the greeting, which comes first. Raises ServicesError, also if the daemon has another version."""
        greeting = self._receive()
        if not isinstance(greeting, Greeting) or greeting.version != __version__:
            raise ServicesError(f"{self.daemon} has another version than {__version__}")

    def dump(self) -> Iterator[ServiceObject]:
        """Yield the daemon's objects."""
        self._send(Request("dump"))
        while isinstance(packet := self._receive(), Held):
            yield _object(packet)
        _check(packet)

    def counts(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yield the daemon's counters: the id of each counted object, and its counters by name."""
        self._send(Request("count"))
        while isinstance(packet := self._receive(), Counted):
            yield packet.id, packet.counts
        _check(packet)

    def put(self, obj: ServiceObject, sockets: Sequence[socket.socket]) -> None:
        """Load an object with its sockets into the daemon."""
        self._send(Request.of("put", obj), sockets)
        _check(self._receive())

    def delete(self, obj: ServiceObject) -> None:
        """Delete an object from the daemon."""
        self._send(Request.of("delete", obj))
        _check(self._receive())

    def _send(self, packet: Packet, sockets: Sequence[socket.socket] = ()) -> None:
        try:
            socket.send_fds(self._socket, [encode(packet)], [sock.fileno() for sock in sockets])
        except TimeoutError as error:
            raise ServicesError(f"{self.daemon} does not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            number = errno.EINVAL if error.errno == errno.EMSGSIZE else error.errno or errno.EIO  # the object is too large
            raise ServicesError(f"{self.daemon}: {error.strerror or error}", number) from error

    def _receive(self) -> Packet:
        try:
            raw = self._socket.recv(PACKET)
        except TimeoutError as error:
            raise ServicesError(f"{self.daemon} does not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            raise ServicesError(f"{self.daemon} does not answer: {error.strerror or error}") from error
        if not raw:
            raise ServicesError(f"{self.daemon} has ended")
        try:
            return decode(raw)
        except Malformed as error:
            raise ServicesError(str(error)) from error


def _object(packet: Held) -> ServiceObject:
    try:
        return object_of(packet)
    except Malformed as error:
        raise ServicesError(str(error)) from error


def _check(packet: Packet) -> None:
    if not isinstance(packet, Answer):
        raise ServicesError(f"a {type(packet).__name__} is not an answer")
    if packet.error:
        raise ServicesError(packet.error, packet.errno)
