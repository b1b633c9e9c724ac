"""The first message of a TLS client: finds the requested host name (RFC 8446, section 4.1.2; RFC 6066, section 3)."""

from __future__ import annotations

from typing import Final

from netorch.services.proxy import limits

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_RECORD: Final = 5
_LARGEST_RECORD: Final = 1 << 14
_RECORDS: Final = 8  # of one ClientHello; libraries use one or two, and each further byte causes a parse of all of them


class NoHello(Exception):
    """The client's bytes are no acceptable ClientHello. The text gives the reason."""


def server_name(raw: bytes) -> str | None:
    """Return the host name that a client asks for, in lower case, or None if more bytes are needed.

    Raises:
      NoHello: it is no TLS, too long, or names no host.
    """
    message = _message(raw)
    if message is None:
        if len(raw) >= limits.HELLO:
            raise NoHello(f"the ClientHello has more than {limits.HELLO} bytes")
        return None
    reader = _Reader(message)
    reader.take(2 + 32)  # version, random
    reader.vector(1)  # session id
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression methods
    extensions = reader.vector(2)
    names = []
    while extensions.left:
        number, content = extensions.number(2), extensions.vector(2)
        if number == _SERVER_NAME:
            names.append(_host(content))
    if len(names) != 1:
        raise NoHello("the client names no host (SNI)" if not names else "the client names several hosts (SNI)")
    return names[0]


def _message(raw: bytes) -> bytes | None:
    """Return the content of the ClientHello, which may span several records, or None while it is incomplete."""
    content, at = b"", 0
    for _ in range(_RECORDS):
        if raw[at : at + 1] not in (b"", bytes((_HANDSHAKE,))):
            raise NoHello("this is not a TLS handshake")
        if len(raw) < at + _RECORD:
            return None
        length = int.from_bytes(raw[at + 3 : at + _RECORD])
        if raw[at + 1] != 3 or not 0 < length <= _LARGEST_RECORD:
            raise NoHello("this is not a TLS record")
        content += raw[at + _RECORD : at + _RECORD + length]
        if content and content[0] != _CLIENT_HELLO:
            raise NoHello("the handshake does not begin with a ClientHello")
        if len(content) >= 4 and len(content) - 4 >= (size := int.from_bytes(content[1:4])):
            return content[4 : 4 + size]
        if len(raw) < at + _RECORD + length:
            return None
        at += _RECORD + length
    raise NoHello(f"the ClientHello is spread over more than {_RECORDS} records")


def _host(content: _Reader) -> str:
    entries = content.vector(2)
    kind, name = entries.number(1), entries.vector(2)
    if kind != _HOST_NAME or entries.left:
        raise NoHello("the client names its host in an unknown way (SNI)")
    try:
        return name.take(name.left).decode("ascii").lower()
    except UnicodeDecodeError:
        raise NoHello("the client's host name (SNI) is not in ASCII") from None


class _Reader:
    """Reads numbers and vectors. All methods raise NoHello if the bytes end too early."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._raw) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise NoHello("the ClientHello is cut short")
        self._at += count
        return self._raw[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))
