"""The `flows` of expect.yaml: whether a service of one instance, or of the internet, can be used from another, with real sockets.

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
from typing import Final, NamedTuple

import msgspec

from netorch.drivers import netns
from netorch.errors import KernelError, LabError, Problem
from netorch.model.check.notes import path_of

RESEND_S = 0.25
INTERNET: Final = "internet"  # the end of a flow that is a node of the lab
KINDS: Mapping[str, int] = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class State(Enum):
    """Whether a service can be used."""

    OPEN = "open"
    CLOSED = "closed"


class FlowDecl(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `flows`: whether `service`, e.g. tcp/8080, of the destination can be used from the source.

    Both are instances, or one of them is `internet`.
    """

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


class Place(NamedTuple):
    """Where one end of flows is."""

    netns: str
    addresses: tuple[str, ...]
    public: Mapping[str, str]  # own address -> the one by which the internet reaches it


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
            if name not in known and name != INTERNET:
                path = path_of(("flows", index, field))
                yield Problem(path=path, what=f"{name!r} is on no island", fix="name it in islands, by itself if nobody pings it")


def check_internet(flows: Sequence[FlowDecl], is_there: bool) -> Iterable[Problem]:
    """Yield what is wrong with flows of a file to or from the internet; `is_there`: the file says which node that is."""
    for index, flow in enumerate(flows):
        if flow.source == flow.destination == INTERNET:
            path = path_of(("flows", index, "destination"))
            yield Problem(path=path, what="both ends are on the internet", fix="name an instance, e.g. acme/web-1")
        elif INTERNET in (flow.source, flow.destination) and not is_there:
            path = path_of(("flows", index, "source" if flow.source == INTERNET else "destination"))
            fix = "add it, e.g. internet: {node: web, addresses: [198.18.0.80]}"
            yield Problem(path=path, what="the file does not say which node is the internet", fix=fix)


class _Try:
    """One flow under way: the sockets of both ends. The server has `address`, and is asked at `target`."""

    def __init__(self, flow: FlowDecl, source: str, destination: str, address: str, target: str) -> None:
        self.flow = flow
        self.target = target
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
                self.client.sendto(self.token, (self.target, self.flow.port))
            else:
                self.client.connect_ex((self.target, self.flow.port))
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


def try_services(flows: Sequence[FlowDecl], places: Mapping[str, Place], timeout_s: float, settle_s: float) -> list[Outcome]:
    """Return what becomes of each flow, in each IP version that both ends have.

    Raises:
      LabError: the internet knows no address of a destination.
      KernelError: a namespace is not here, or the destination uses the port itself.
    Cost: `settle_s` when all is as expected, else `timeout_s`.
    """
    tries: list[_Try] = []
    try:
        for flow in flows:
            source, destination = places[flow.source], places[flow.destination]
            for address, target in targets_of(flow, source, destination):
                tries.append(_Try(flow, source.netns, destination.netns, address, target))
        _run(tries, timeout_s, settle_s)
        return [Outcome(flow=one.flow, address=one.target, observed=one.answered) for one in tries]
    finally:
        for one in tries:
            one.close()


def targets_of(flow: FlowDecl, source: Place, destination: Place) -> list[tuple[str, str]]:
    """Return the addresses of a destination that are to be tried, each with that by which the source reaches it."""
    versions = {":" in address for address in source.addresses}
    own = [address for address in destination.addresses if (":" in address) in versions]
    if flow.source != INTERNET:
        return [(address, address) for address in own]
    found = [(address, destination.public[address]) for address in own if address in destination.public]
    if not found:
        what = "has no public address, so nobody on the internet can try it; associate one, or leave the flow out"
        raise LabError(f"expect: {flow.destination} {what}")
    return found


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
