"""The `flows` of expect.yaml: whether a service of an instance, or of the internet, is open to another. Uses real sockets.

A server listens in the destination's namespace, and a client connects from the source's. The client's request and the server's
answer carry a token, so another server's answer is not accepted. All flows are tested at once.

A flow without a destination is for any server at an address, e.g. a host's resolver or an endpoint: it is open if a connection
is accepted there.
"""

from __future__ import annotations

import errno
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
from netorch.model.addr import AddressError, canonical_ip
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

    Both are instances, or one of them is `internet`. `at` is the address that the source uses, if it is not one of the
    destination's own: an alias, or an interface endpoint's. Without a destination, any server at that address may answer.
    """

    source: str
    service: str
    destination: str = ""
    at: str = ""
    target_port: int = 0  # the destination's listening port, if it differs from the service's
    state: State = State.OPEN

    @property
    def kind(self) -> int:
        """Return the type of socket."""
        return KINDS[self.service.partition("/")[0]]

    @property
    def port(self) -> int:
        """Return the destination port."""
        return int(self.service.partition("/")[2])

    @property
    def whom(self) -> str:
        """Return the destination's name for people."""
        return f"{self.destination} at {self.at}" if self.destination and self.at else self.destination or self.at


class Place(NamedTuple):
    """The place of one end of flows."""

    netns: str
    addresses: tuple[str, ...]
    public: Mapping[str, str]  # own address -> its address as seen from the internet


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a flow."""

    flow: FlowDecl
    address: str
    observed: bool

    @property
    def ok(self) -> bool:
        """Return whether the result is as expected."""
        return self.observed == (self.flow.state is State.OPEN)


def check_flows(flows: Sequence[FlowDecl], known: Collection[str]) -> Iterable[Problem]:
    """Yield the problems of a file's flows; `known` are the instances on its islands."""
    for index, flow in enumerate(flows):
        kind, _, port = flow.service.partition("/")
        if kind not in KINDS or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            path = path_of(("flows", index, "service"))
            yield Problem(path=path, what=f"{flow.service!r} is not a service", fix="write tcp/PORT or udp/PORT, e.g. tcp/443")
        if flow.at and not _is_address(flow.at):
            path = path_of(("flows", index, "at"))
            yield Problem(path=path, what=f"{flow.at!r} is not an IP address", fix="write one, e.g. 169.254.169.253")
        ends = [("source", flow.source), *([("destination", flow.destination)] if flow.destination else [])]
        if not flow.destination and (not flow.at or kind != "tcp"):  # a datagram of unknown content gets no answer
            path, fix = path_of(("flows", index, "destination")), "name an instance, or for tcp/PORT an address: at: ADDRESS"
            yield Problem(path=path, what="the flow has no destination", fix=fix)
        for field, name in ends:
            if name not in known and name != INTERNET:
                path = path_of(("flows", index, field))
                yield Problem(
                    path=path,
                    what=f"{name!r} is on no island",
                    fix="add it to an island, to one of its own if no other instance pings it",
                )


def _is_address(text: str) -> bool:
    try:
        return bool(canonical_ip(text))
    except AddressError:
        return False


def check_internet(flows: Sequence[FlowDecl], is_there: bool) -> Iterable[Problem]:
    """Yield the problems of flows to or from the internet; `is_there`: the file names the node for the internet."""
    for index, flow in enumerate(flows):
        if flow.source == flow.destination == INTERNET:
            path = path_of(("flows", index, "destination"))
            yield Problem(path=path, what="both ends are on the internet", fix="name an instance, e.g. acme/web-1")
        elif INTERNET in (flow.source, flow.destination) and not is_there:
            path = path_of(("flows", index, "source" if flow.source == INTERNET else "destination"))
            fix = "add it, e.g. internet: {node: web, addresses: [198.18.0.80]}"
            yield Problem(path=path, what="the file does not name the node that is the internet", fix=fix)


class _Try:
    """One flow in progress: the sockets of both ends. The server has `address`; the client uses `target`.

    Without a destination there is no server socket.
    """

    def __init__(self, flow: FlowDecl, source: str, destination: str, address: str, target: str) -> None:
        self.flow = flow
        self.target = target
        self.token = secrets.token_bytes(16)
        self.answered = False
        self.accepted: list[socket.socket] = []
        self._family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self.server = self._listening(destination, address) if destination else None
        self.client = self._in(source)

    def _listening(self, destination: str, address: str) -> socket.socket:
        """Return the server's socket. Raises KernelError."""
        server = self._in(destination)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # flows may share an address: any answers
        try:
            server.bind((address, self.flow.target_port or self.flow.port))
        except OSError as error:
            raise KernelError(f"listen on {address} {self.flow.service}", error.errno or 0, self.flow.destination) from error
        if self.flow.kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def _in(self, space: str) -> socket.socket:
        descriptor = netns.find(space)
        try:
            with netns.inside(descriptor):
                return socket.socket(self._family, self.flow.kind | socket.SOCK_NONBLOCK)
        finally:
            os.close(descriptor)

    def ask(self) -> None:
        """Connect, or send once more; an error of either kernel counts as no answer."""
        with suppress(OSError):
            if self.flow.kind == socket.SOCK_DGRAM:
                self.client.sendto(self.token, (self.target, self.flow.port))
            else:
                said = self.client.connect_ex((self.target, self.flow.port))
                if self.server is None:
                    self.answered |= said in (0, errno.EISCONN)
                    return
                self.client.send(self.token)

    def serve(self) -> socket.socket | None:
        """Let the server answer its input; return a new connection, which the caller must then watch."""
        if self.server is None:
            return None
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
        """Read the data at the client, or at the server's end of a connection."""
        with suppress(OSError):
            data = end.recv(64)
            if end is self.client:
                self.answered |= data == self.token[::-1]
            elif data:
                end.send(data[::-1])

    def close(self) -> None:
        """Close all sockets."""
        for end in (self.server, self.client, *self.accepted):
            if end is not None:
                end.close()


def try_services(flows: Sequence[FlowDecl], places: Mapping[str, Place], timeout_s: float, settle_s: float) -> list[Outcome]:
    """Return the result of each flow, in each IP version that both ends have.

    Raises:
      LabError: a destination has no public address for the internet.
      KernelError: a namespace is not on this host, or the destination uses the port itself.
    Cost: `settle_s` when all is as expected, else `timeout_s`.
    """
    tries: list[_Try] = []
    try:
        for flow in flows:
            source = places[flow.source]
            if not flow.destination:
                tries.append(_Try(flow, source.netns, "", "", flow.at))
                continue
            destination = places[flow.destination]
            for address, target in targets_of(flow, source, destination):
                tries.append(_Try(flow, source.netns, destination.netns, address, target))
        _run(tries, timeout_s, settle_s)
        return [Outcome(flow=one.flow, address=one.target, observed=one.answered) for one in tries]
    finally:
        for one in tries:
            one.close()


def targets_of(flow: FlowDecl, source: Place, destination: Place) -> list[tuple[str, str]]:
    """Return the addresses of a destination to test, each with the address by which the source reaches it."""
    if flow.at:
        version6 = ":" in flow.at
        return [(address, flow.at) for address in destination.addresses if (":" in address) is version6][:1]
    versions = {":" in address for address in source.addresses}
    own = [address for address in destination.addresses if (":" in address) in versions]
    if flow.source != INTERNET:
        return [(address, address) for address in own]
    found = [(address, destination.public[address]) for address in own if address in destination.public]
    if not found:
        what = "has no public address, so it cannot be tested from the internet; associate one, or leave the flow out"
        raise LabError(f"expect: {flow.destination} {what}")
    return found


def _run(tries: Sequence[_Try], timeout_s: float, settle_s: float) -> None:
    with selectors.DefaultSelector() as selector:
        for one in tries:
            one.ask()
            if one.server is not None:
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
