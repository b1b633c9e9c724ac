"""A TCP connection between two namespaces that says something every few milliseconds, and how long it was silent."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from netorch.drivers import netns

_WORD: Final = b"still here"
_OPENING_S: Final = 30.0


def tcp_socket(namespace: str) -> socket.socket:
    """Return a new socket of a namespace."""
    descriptor = netns.find(namespace)
    try:
        with netns.inside(descriptor):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    finally:
        os.close(descriptor)


class Echoes:
    """A server in a namespace that returns what any client says."""

    def __init__(self, namespace: str, port: int) -> None:
        self._listener = tcp_socket(namespace)
        self._listener.bind(("0.0.0.0", port))
        self._listener.listen()
        threading.Thread(target=self._accept, name="echoes", daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._echo, args=(connection,), name="echo", daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while said := connection.recv(1 << 16):
                connection.sendall(said)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Conversation:
    """A client that speaks every `interval_s` without waiting for the echo."""

    def __init__(self, namespace: str, address: str, port: int, interval_s: float = 0.005) -> None:
        self._interval_s = interval_s
        self._socket = tcp_socket(namespace)
        self._socket.settimeout(_OPENING_S)
        self._socket.connect((address, port))
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._heard_at = time.monotonic()
        self._silence_s = 0.0
        self.said = 0  # words
        self.heard = 0  # bytes
        self.error = ""
        self._closing = False
        for work in (self._say, self._hear):
            threading.Thread(target=self._guarded, args=(work,), name="conversation", daemon=True).start()

    def silence_s(self) -> float:
        """Return the longest silence that ended since the last call, in seconds."""
        longest, self._silence_s = self._silence_s, 0.0
        return longest

    def goes_on(self, beyond: int) -> bool:
        """Return whether more than the first `beyond` words have come back. Raises AssertionError if the connection broke."""
        assert not self.error, self.error
        return self.heard > beyond * len(_WORD)

    def close(self) -> None:
        """End the connection."""
        self._closing = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self.error = self.error or ("" if self._closing else str(error))

    def _say(self) -> None:
        while not self._closing:
            self._socket.sendall(_WORD)
            self.said += 1
            time.sleep(self._interval_s)

    def _hear(self) -> None:
        while heard := self._socket.recv(1 << 16):
            now = time.monotonic()
            self._silence_s, self._heard_at = max(self._silence_s, now - self._heard_at), now
            self.heard += len(heard)
        self.error = self.error or ("" if self._closing else "the other end closed the connection")
