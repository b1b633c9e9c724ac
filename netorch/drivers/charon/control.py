"""charon's control socket: commands, and events. The protocol is vici, version 1.

A packet has a four-byte length, a type, a name for some types, and a message: nested sections of strings and lists of
strings.
Source: strongSwan's src/libcharon/plugins/vici/README.md.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from vici.exception import DeserializationException
from vici.protocol import FiniteStream, Message, Packet

from netorch.drivers.daemons.connection import Connection, DaemonError

Value = str | list[str] | dict[str, "Value"]
Section = dict[str, Value]

_LENGTH: Final = struct.Struct("!I")
_CHUNK: Final = 1 << 16
_MOST: Final = 16 << 20  # bytes per packet; one packet has all CHILD_SAs of an IKE_SA, and a peer can make any number of them


class CharonError(DaemonError):
    """charon cannot be started, does not answer, or refuses a command."""


class _Packet(NamedTuple):
    type: int
    name: str  # of an event
    payload: bytes


class Control(Connection):
    """A connection to a charon. All methods raise CharonError."""

    daemon = "charon"
    failure = CharonError

    def __init__(self, path: Path, patience_s: float) -> None:
        """Connect; `patience_s` is the timeout of each answer."""
        super().__init__(path, patience_s)
        self.is_busy: Callable[[], bool] = lambda: False  # called when an answer is late: whether to wait for another timeout

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def ask(self, command: str, message: Mapping[str, Value] | None = None) -> Section:
        """Return the answer to a command."""
        self._send(Packet.request(command, Message.serialize(message or {})))
        while (packet := self._packet()).type == Packet.EVENT:
            pass
        return self._answer(packet)

    def tell(self, command: str, message: Mapping[str, Value]) -> bool:
        """Return whether a command succeeded; charon may refuse it, e.g. to terminate an SA that has ended."""
        try:
            self.ask(command, message)
        except CharonError as error:
            if error.number != errno.EINVAL:
                raise
            return False
        return True

    def stream(self, command: str, event: str, message: Mapping[str, Value] | None = None) -> Iterator[Section]:
        """Yield a command's answers, which arrive as events."""
        self.listen((event,))
        self._send(Packet.request(command, Message.serialize(message or {})))
        while (packet := self._packet()).type == Packet.EVENT:
            yield _section(packet.payload)
        self._send(Packet.unregister_event(event))
        while self._packet().type == Packet.EVENT:
            pass
        self._answer(packet)

    def listen(self, events: Sequence[str]) -> None:
        """Subscribe to events."""
        for event in events:
            self._send(Packet.register_event(event))
            while (packet := self._packet()).type == Packet.EVENT:
                pass
            if packet.type != Packet.EVENT_CONFIRM:
                raise CharonError(f"charon does not know the event {event}", errno.EOPNOTSUPP)

    def received(self) -> list[tuple[str, Section]]:
        """Return the received events with their names; never blocks."""
        events: list[tuple[str, Section]] = []
        patience = self._socket.gettimeout()
        self._socket.setblocking(False)
        try:
            while True:
                packet = self._packet()
                if packet.type == Packet.EVENT:
                    events.append((packet.name, _section(packet.payload)))
        except BlockingIOError:
            return events
        except CharonError:
            if not events:
                raise
            return events  # the next call raises the error
        finally:
            self._socket.settimeout(patience)

    def _answer(self, packet: _Packet) -> Section:
        if packet.type != Packet.CMD_RESPONSE:
            raise CharonError("charon does not know that command", errno.EOPNOTSUPP)
        answer = _section(packet.payload)
        if answer.get("success") == "no":
            raise CharonError(f"charon: {answer.get('errmsg')}", errno.EINVAL)
        return answer

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.sendall(_LENGTH.pack(len(packet)) + packet)
        except TimeoutError as error:
            raise CharonError("charon does not answer", errno.ETIMEDOUT) from error
        except OSError as error:
            raise CharonError("charon has ended") from error

    def _packet(self) -> _Packet:
        """Return the next packet. On a non-blocking socket, raises BlockingIOError if there is none."""
        length = _LENGTH.unpack(self._peek(_LENGTH.size))[0]
        if length > _MOST:
            raise CharonError(f"charon sent a packet of {length} bytes")
        raw = self._peek(_LENGTH.size + length)[_LENGTH.size :]
        self._pending = self._pending[_LENGTH.size + length :]
        if raw[:1] != bytes((Packet.EVENT,)):
            return _Packet(raw[0], "", raw[1:])
        end = 2 + raw[1]
        return _Packet(raw[0], raw[2:end].decode(), raw[end:])

    def _peek(self, size: int) -> bytes:
        """Wait for `size` bytes and return them without consuming them."""
        while len(self._pending) < size:
            try:
                chunk = self._socket.recv(_CHUNK)
            except TimeoutError as error:
                if self.is_busy():
                    continue
                raise CharonError("charon does not answer", errno.ETIMEDOUT) from error
            except BlockingIOError:
                raise
            except OSError as error:
                raise CharonError("charon has ended") from error
            if not chunk:
                raise CharonError("charon has ended")
            self._pending += chunk
        return self._pending[:size]


def _section(payload: bytes) -> Section:
    try:
        return _decoded(Message.deserialize(FiniteStream(payload)))
    except (DeserializationException, struct.error) as error:
        raise CharonError("charon sent an invalid message") from error


def _decoded(section: Mapping[str, object]) -> Section:
    return {name: _value(value) for name, value in section.items()}


def _value(value: object) -> Value:
    if isinstance(value, Mapping):
        return _decoded(value)
    if isinstance(value, list):
        return [item.decode(errors="replace") for item in value]
    assert isinstance(value, bytes)
    return value.decode(errors="replace")


def text(section: Section, name: str) -> str:
    """Return a string of a section; empty if absent."""
    found = section.get(name, "")
    return found if isinstance(found, str) else ""


def sections(section: Section, name: str = "") -> dict[str, Section]:
    """Return the sections in a section, or in its section called `name`."""
    found = section.get(name, {}) if name else section
    return {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def strings(section: Section, name: str) -> list[str]:
    """Return a list of strings of a section; empty if absent."""
    found = section.get(name, [])
    return found if isinstance(found, list) else []
