"""The `flows` of expect.yaml: whether a service of one instance can be used from another, tried with real sockets.

A server listens in the destination's namespace, a client asks from the source's; the client's question and the server's answer
carry a token of their own, so nobody else's answer is taken for it. All flows are under way at once.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum

import msgspec

from netorch.drivers import netns
from netorch.errors import KernelError, Problem
from netorch.model.check.notes import path_of

RESEND_S = 0.25
KINDS: Mapping[str, int] = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class State(Enum):
    """Whether a service can be used."""

    OPEN = "open"
    CLOSED = "closed"


class FlowDecl(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `flows`: whether `service`, e.g. tcp/8080, of the destination can be used from the source."""

    source: str
    destination: str
    service: str
    state: State = State.OPEN

    @property
    def kind(self) -> int:
        """Return the type of socket."""
        return KINDS[self.service.partition("/")[0]]

    @property
    def port(self) -> int:
        """Return the destination port."""
        return int(self.service.partition("/")[2])


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a flow."""

    flow: FlowDecl
    address: str
    observed: bool

    @property
    def ok(self) -> bool:
        """Return whether it is as expected."""
        return self.observed == (self.flow.state is State.OPEN)


def check_flows(flows: Sequence[FlowDecl], known: Collection[str]) -> Iterable[Problem]:
    """Yield what is wrong with the flows of a file; `known` are the instances that it names as islanders."""
    for index, flow in enumerate(flows):
        kind, _, port = flow.service.partition("/")
        if kind not in KINDS or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            path = path_of(("flows", index, "service"))
            yield Problem(path=path, what=f"{flow.service!r} is no service", fix="write tcp/PORT or udp/PORT, e.g. tcp/443")
        for field, name in (("source", flow.source), ("destination", flow.destination)):
            if name not in known:
                path = path_of(("flows", index, field))
                yield Problem(path=path, what=f"{name!r} is on no island", fix="name it in islands, by itself if nobody pings it")


class _Try:
    """One flow under way: the sockets of both ends."""

    def __init__(self, flow: FlowDecl, source: str, destination: str, address: str) -> None:
        self.flow = flow
        self.address = address
        self.token = secrets.token_bytes(16)
        self.answered = False
        self.accepted: list[socket.socket] = []
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.server = self._in(destination)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # several flows may have one server: any answers
        try:
            self.server.bind((address, flow.port))
        except OSError as error:
            raise KernelError(f"listen on {address} {flow.service}", error.errno or 0, flow.destination) from error
        if flow.kind == socket.SOCK_STREAM:
            self.server.listen()
        self.client = self._in(source)

    def _in(self, space: str) -> socket.socket:
        descriptor = netns.find(space)
        try:
            with netns.inside(descriptor):
                return socket.socket(self._family, self.flow.kind | socket.SOCK_NONBLOCK)
        finally:
            os.close(descriptor)

    def ask(self) -> None:
        """Begin, or send once more; a refusal by either kernel means the same as no answer."""
        with suppress(OSError):
            if self.flow.kind == socket.SOCK_DGRAM:
                self.client.sendto(self.token, (self.address, self.flow.port))
            else:
                self.client.connect_ex((self.address, self.flow.port))
                self.client.send(self.token)

    def serve(self) -> socket.socket | None:
        """Let the server answer what has come; return a new connection, which is then to be watched."""
        with suppress(OSError):
            if self.flow.kind == socket.SOCK_DGRAM:
                question, asker = self.server.recvfrom(64)
                self.server.sendto(question[::-1], asker)
                return None
            connection, _ = self.server.accept()
            connection.setblocking(False)
            self.accepted.append(connection)
            return connection
        return None

    def hear(self, end: socket.socket) -> None:
        """Take in what has come at the client, or at the server's end of a connection."""
        with suppress(OSError):
            data = end.recv(64)
            if end is self.client:
                self.answered |= data == self.token[::-1]
            elif data:
                end.send(data[::-1])

    def close(self) -> None:
        """Close all sockets."""
        for end in (self.server, self.client, *self.accepted):
            end.close()


def try_services(
    flows: Sequence[FlowDecl], places: Mapping[str, tuple[str, Sequence[str]]], timeout_s: float, settle_s: float
) -> list[Outcome]:
    """Return what becomes of each flow, in each IP version that both ends have; `places` gives namespaces and addresses.

    Raises:
      KernelError: a namespace is not here, or the destination uses the port itself.
    Cost: `settle_s` when all is as expected, else `timeout_s`.
    """
    tries: list[_Try] = []
    try:
        for flow in flows:
            versions = {":" in address for address in places[flow.source][1]}
            addresses = (address for address in places[flow.destination][1] if (":" in address) in versions)
            tries.extend(_Try(flow, places[flow.source][0], places[flow.destination][0], address) for address in addresses)
        _run(tries, timeout_s, settle_s)
        return [Outcome(flow=one.flow, address=one.address, observed=one.answered) for one in tries]
    finally:
        for one in tries:
            one.close()


def _run(tries: Sequence[_Try], timeout_s: float, settle_s: float) -> None:
    with selectors.DefaultSelector() as selector:
        for one in tries:
            one.ask()
            selector.register(one.server, selectors.EVENT_READ, one)
            selector.register(one.client, selectors.EVENT_READ, one)
        begun = time.monotonic()
        end, resend = begun + timeout_s, begun + RESEND_S
        while (now := time.monotonic()) < end:
            if all(one.answered or one.flow.state is State.CLOSED for one in tries):
                end = min(end, max(begun + settle_s, now))
            if now >= resend:
                for one in tries:
                    if not one.answered:
                        one.ask()
                resend = now + RESEND_S
            for key, _ in selector.select(max(min(resend, end) - now, 0)):
                one = key.data
                if key.fileobj is not one.server:
                    one.hear(key.fileobj)
                elif (connection := one.serve()) is not None:
                    selector.register(connection, selectors.EVENT_READ, one)
