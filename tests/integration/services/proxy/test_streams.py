"""Bodies are passed on while they arrive, in bounded memory; the state that is left when a party dies."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest

from tests.integration.services.proxy.stand import ENDPOINTS, ProxyStand, document, everything
from tests.rig.services.process import service_process
from tests.rig.services.upstreams import OK, Recorder, plain, read_body
from tests.rig.world import wait_for

HOST = b"Host: s3.amazonaws.com\r\n"
GET = b"GET /bbb/k HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
LARGE = 200 << 20
PIECE = bytes(1 << 20)


def put(length: int, *more: bytes) -> bytes:
    return b"PUT /bbb/k HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n" % length + b"".join(more) + b"Connection: close\r\n\r\n"


def answer_large(connection: socket.socket, head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
    for _ in range(LARGE // len(PIECE)):
        connection.sendall(PIECE)


class Halves:
    """A server that sends half of the announced body, and the rest when it may."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        self.go_on.wait(30.0)
        connection.sendall(b"cd")


@pytest.fixture
def own(behind: Recorder) -> Iterator[ProxyStand]:
    """Return a stand whose process a test may kill."""
    with service_process() as process:
        stand = ProxyStand(process, behind.url)
        stand.serve()
        yield stand


def first(connection: socket.socket, until: bytes) -> bytes:
    got = b""
    while until not in got:
        more = connection.recv(1 << 16)
        assert more, got
        got += more
    return got


def test_large_bodies_pass_in_bounded_memory(own: ProxyStand, behind: Recorder) -> None:
    lengths = []

    def store(connection: socket.socket, head: bytes) -> None:
        lengths.append(read_body(connection, head))
        connection.sendall(OK)

    before = own.daemon.memory()
    behind.answer = store
    with own.connect() as connection:
        connection.sendall(put(LARGE))
        for _ in range(LARGE // len(PIECE)):
            connection.sendall(PIECE)
        assert everything(connection).startswith(b"HTTP/1.1 200")
    behind.answer = answer_large
    with own.connect() as connection:
        connection.sendall(GET)
        count = sum(len(more) for more in iter(lambda: connection.recv(1 << 20), b""))
    assert lengths == [LARGE]
    assert count > LARGE
    assert own.daemon.memory() - before < 24 << 20


def test_who_reads_nothing_holds_back_the_server_and_little_memory(own: ProxyStand, behind: Recorder) -> None:
    sent = []

    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        connection.settimeout(3.0)
        while True:
            connection.sendall(PIECE)
            sent.append(len(PIECE))

    behind.answer = answer
    before = own.daemon.memory()
    with own.connect() as connection:
        connection.sendall(GET)
        first(connection, b"\r\n\r\n")
        wait_for(lambda: sent, "the server to send")
        behind.answer = lambda other, _: other.sendall(OK)
        assert own.ask(GET).endswith(b"ok")
        count = -1
        while count != len(sent):
            count = len(sent)
            threading.Event().wait(0.5)
    assert sum(sent) < LARGE // 2
    assert own.daemon.memory() - before < 24 << 20


def test_a_body_is_asked_for_only_when_it_may_come(stand: ProxyStand, behind: Recorder) -> None:
    with stand.connect() as connection:
        connection.sendall(put(3, b"Expect: 100-continue\r\n"))
        assert first(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert everything(connection).endswith(b"\r\n\r\nok")
    assert b"expect" not in behind.heads[-1].lower()
    with stand.connect() as connection:
        connection.sendall(put(3, b"Expect: 100-continue\r\n").replace(b"s3.amazonaws.com", b"example.com"))
        assert first(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_body_in_chunks_goes_on_in_chunks(stand: ProxyStand, behind: Recorder) -> None:
    raw = (
        b"PUT /bbb/k HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert stand.ask(raw).endswith(b"ok")
    assert b"transfer-encoding: chunked\r\n" in behind.heads[-1].lower()


def test_an_answer_goes_on_while_it_comes_and_breaks_off_where_it_does(stand: ProxyStand, behind: Recorder) -> None:
    behind.answer = halves = Halves()
    with stand.connect() as connection:
        connection.sendall(GET)
        assert first(connection, b"ab").endswith(b"\r\n\r\nab")
        halves.go_on.set()
        assert everything(connection) == b"cd"

    def broken(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    behind.answer = broken
    with stand.connect() as connection:
        connection.sendall(GET)
        assert b"\r\n0\r\n" not in everything(connection)


def test_who_leaves_in_the_middle_leaves_nothing_behind(stand: ProxyStand, behind: Recorder) -> None:
    ended = threading.Event()

    def answer(connection: socket.socket, head: bytes) -> None:
        with suppress(ConnectionResetError):  # tells the server that the body is incomplete
            while connection.recv(1 << 16):
                pass
        ended.set()

    behind.answer = answer
    with stand.connect() as connection:
        connection.sendall(put(1000) + b"abc")
        wait_for(lambda: behind.heads, "the request")
    assert ended.wait(30.0)


def test_a_server_that_is_away_is_an_error_to_try_again(stand: ProxyStand, behind: Recorder) -> None:
    behind.close()
    got = stand.ask(GET)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>ServiceUnavailable</Code>" in got
    again = Recorder()
    ProxyStand(stand.daemon, again.url).serve()
    assert stand.ask(GET).endswith(b"ok")
    again.close()


def test_kept_connections_are_no_other_endpoints(stand: ProxyStand, behind: Recorder) -> None:
    connections = []
    for letter in "aabb":
        stand.ask(GET, letter)
        connections.append(behind.connections)
    assert connections == [1, 1, 2, 2]


def test_a_killed_proxy_resets_what_was_under_way_and_its_successor_goes_on(own: ProxyStand, behind: Recorder) -> None:
    behind.answer = Halves()
    with own.connect() as connection:
        connection.sendall(GET)
        assert first(connection, b"ab")
        own.daemon.kill()
        assert everything(connection) == b""
    behind.answer = lambda connection, _: connection.sendall(OK)
    own.daemon.restart()
    own.serve()
    for letter in "ab":
        own.listen(letter)
        assert own.ask(GET, letter).endswith(b"ok")


def test_a_proxy_that_is_to_end_ends_what_is_under_way_while_its_successor_begins(own: ProxyStand, behind: Recorder) -> None:
    behind.answer = halves = Halves()
    with own.connect() as connection, own.connect() as idle:
        connection.sendall(GET)
        assert first(connection, b"ab")
        ending = own.daemon.replace(signal.SIGTERM)
        assert everything(idle) == b""
        behind.answer = lambda other, _: other.sendall(OK)
        own.serve()
        own.listen("a")
        assert own.ask(GET).endswith(b"ok")
        halves.go_on.set()
        assert everything(connection) == b"cd"
    assert ending.wait(30.0) == 0


def test_what_each_endpoint_is_used_for_is_counted(own: ProxyStand, behind: Recorder) -> None:
    own.serve(b=document({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}))
    own.ask(put(3) + b"abc", "b")
    own.ask(GET, "b")
    own.ask(b"nonsense\r\n\r\n")
    with own.connect(), own.connect("b") as broken:
        broken.sendall(put(3) + b"a")
        wait_for(lambda: len(behind.heads) == 2, "half of a request")
        assert {letter: own.daemon.counts()[id].get("connections") for letter, id in ENDPOINTS.items()} == {"a": 1, "b": 1}
    behind.close()
    own.ask(GET)

    def settled() -> dict[str, Mapping[str, int]]:
        found = own.daemon.counts()
        return {} if any("connections" in each for each in found.values()) else found

    own.ask(GET, "b")
    assert wait_for(settled, "the end of all connections") == {
        ENDPOINTS["a"]: {"requests": 2, "malformed": 1, "unavailable": 1},
        ENDPOINTS["b"]: {"requests": 4, "denied": 2, "broken": 1, "received": 4, "sent": 2},
    }


def test_a_server_may_answer_before_the_body_has_come_and_the_connection_ends(stand: ProxyStand, behind: Recorder) -> None:
    behind.answer = lambda connection, _: connection.sendall(OK.replace(b"200 OK", b"507 Full"))
    with stand.connect() as connection:
        connection.sendall(put(LARGE).replace(b"Connection: close\r\n", b"") + PIECE)
        assert everything(connection).endswith(b"\r\nConnection: close\r\n\r\nok")
    assert stand.line("a", "PUT", 507).error == ""


def test_a_kept_connection_that_the_server_closes_when_it_is_used_costs_no_request_and_no_second_one(
    stand: ProxyStand, behind: Recorder
) -> None:
    def once(connection: socket.socket, head: bytes) -> None:
        read_body(connection, head)
        behind.answer = closes
        connection.sendall(OK)

    def closes(connection: socket.socket, head: bytes) -> None:
        behind.answer = plain
        connection.shutdown(socket.SHUT_RDWR)

    for start, expected in ((b"GET /bbb/k", b"200"), (b"PUT /bbb/k", b"200"), (b"POST /bbb/k?uploads", b"503")):
        behind.answer = once
        assert stand.ask(GET).endswith(b"ok")
        before = len(behind.heads)
        body = b"abc" if start[:3] != b"GET" else b""
        raw = start + b" HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
        assert stand.ask(raw).split()[1] == expected
        assert len(behind.heads) == before + (2 if expected == b"200" else 1)
