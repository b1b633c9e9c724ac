"""Servers behind the proxy that record each request byte for byte and give the answers that a test sets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[socket.socket, bytes], None]


def plain(connection: socket.socket, head: bytes) -> None:
    """Read the body, if the head announces one, and answer 200."""
    read_body(connection, head)
    connection.sendall(OK)


def read_body(connection: socket.socket, head: bytes) -> int:
    """Read a body, of the announced length or in chunks, and return its length."""
    if value(head, b"transfer-encoding"):
        return _read_chunks(connection)
    left = length = int(value(head, b"content-length") or 0)
    while left:
        left -= len(connection.recv(min(left, 1 << 20)) or b"x" * left)
    return length


def _read_chunks(connection: socket.socket) -> int:
    length = 0
    with connection.makefile("rb") as file:
        while size := int(file.readline(), 16):
            length += len(file.read(size))
            file.readline()
        while file.readline().strip():
            pass
    return length


def value(head: bytes, name: bytes) -> bytes:
    """Return the value of the first header of this name (in lower case), or nothing."""
    for line in head.split(b"\r\n")[1:]:
        key, _, text = line.partition(b":")
        if key.lower() == name:
            return text.strip()
    return b""


class Recorder:
    """A server that records the heads of all requests, and answers each with a function."""

    def __init__(self, answer: Answer = plain) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name="upstream", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            pending = b""
            while True:
                while b"\r\n\r\n" not in pending:
                    more = connection.recv(1)
                    if not more:
                        return
                    pending += more
                self.heads.append(pending)
                self.answer(connection, pending)
                pending = b""
