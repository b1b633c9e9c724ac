"""Many connections at once; both ends of each send until stopped."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from tests.rig.outskirts import connected, listening, udp_socket

_PAUSE_S: Final = 0.1  # between two messages on one connection
_LOST_S: Final = 10.0  # a datagram without an answer after this time is lost
_WORD: Final = 8  # bytes


class Repeater:
    """A host that echoes everything, by TCP and by UDP."""

    def __init__(self, place: str, address: str, port: int) -> None:
        self._listening = listening(place, port)
        self._datagrams = udp_socket(place, (address, port))
        self._thread = _Loop("repeater", self._run)
        self._selector = selectors.DefaultSelector()
        for sock in (self._listening, self._datagrams):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread.start()

    def _run(self) -> None:
        for key, _ in self._selector.select(0.1):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is self._listening:
                taken, _ = sock.accept()
                taken.setblocking(False)
                self._selector.register(taken, selectors.EVENT_READ)
            elif sock is self._datagrams:
                data, peer = sock.recvfrom(100)
                sock.sendto(data, peer)
            else:
                self._repeat(sock)

    def _repeat(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        if data:
            sock.send(data)
        else:
            self._selector.unregister(sock)
            sock.close()

    def close(self) -> None:
        self._thread.stop()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


class Talks:
    """Connections from one instance to a repeater. Each sends a message, waits for its echo, and sends the next one."""

    def __init__(self, place: str, to: tuple[str, int], count: int) -> None:
        self._socks = [connected(place, to) for _ in range(count)]
        self._selector = selectors.DefaultSelector()
        self.words: dict[int, int] = {}  # echoed messages by connection
        self.ended: dict[int, str] = {}  # why a connection ended, by connection
        self._due: dict[int, float] = {}
        for number, sock in enumerate(self._socks):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, number)
            self.words[number], self._due[number] = 0, 0.0
        self._thread = _Loop("talks", self._run)
        self._thread.start()

    def _run(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._try(number, self._speak)
        for key, _ in self._selector.select(0.02):
            self._try(key.data, self._hear)

    def _speak(self, number: int) -> bool:
        return self._socks[number].send(self._word(number, self.words[number])) == _WORD

    def _hear(self, number: int) -> bool:
        heard = self._socks[number].recv(100)
        self.words[number] += 1
        self._due[number] = time.monotonic() + _PAUSE_S
        return heard == self._word(number, self.words[number] - 1)

    def _word(self, number: int, count: int) -> bytes:
        return f"{number:03d}{count % 10**5:05d}".encode()

    def _try(self, number: int, act: Callable[[int], bool]) -> None:
        try:
            why = "" if act(number) else "something else came back"
        except OSError as error:
            why = str(error)
        if why and number not in self.ended:
            self.ended[number] = why
            self._due.pop(number, None)
            self._selector.unregister(self._socks[number])

    def all_go_on(self) -> Callable[[], bool]:
        """Return a condition: each connection has since had two more messages echoed."""
        before = dict(self.words)
        return lambda: bool(self.ended) or all(self.words[number] >= count + 2 for number, count in before.items())

    def close(self) -> None:
        self._thread.stop()
        self._selector.close()
        for sock in self._socks:
            sock.close()


class Datagrams:
    """One UDP flow to a repeater: each datagram is sent once the previous one is echoed or lost."""

    def __init__(self, place: str, to: tuple[str, int]) -> None:
        self._sock = udp_socket(place)
        self._sock.connect(to)
        self._sock.settimeout(_LOST_S)
        self._sent = 0
        self.lost = 0
        self._thread = _Loop("datagrams", self._run)
        self._thread.start()

    def _run(self) -> None:
        self._sent += 1
        try:
            self._sock.send(str(self._sent).encode())
            while int(self._sock.recv(100)) != self._sent:
                pass
        except OSError:
            self.lost += 1
        time.sleep(_PAUSE_S)

    def close(self) -> None:
        self._thread.stop()
        self._sock.close()


class _Loop:
    """A thread that repeats one action."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self._act = act
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            self._act()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()
