"""Two endpoints of one process, and the actions of tests on them."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from netorch.services.proxy.journal.line import Line
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener
from tests.rig.services.process import LOOPBACK, ServiceProcess
from tests.rig.services.s3 import HOSTS, S3, client
from tests.rig.world import wait_for

VPCS = {"a": "vpc-0013880000000000a", "b": "vpc-0013890000000000b"}
ENDPOINTS = {"a": "vpce-0013880000000000a", "b": "vpce-0013890000000000b"}
SERVICE = "s3"


def document(*statements: Mapping[str, object]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Principal": "*", **one} for one in statements]})


class ProxyStand:
    """Endpoints `a` and `b` in front of one server."""

    def __init__(self, daemon: ServiceProcess, upstream: str, tls: str = "") -> None:
        self.daemon = daemon
        self._upstream = upstream
        self._tls = tls
        self._buckets: set[str] = set()

    def serve(self, **policies: str) -> None:
        """Put both endpoints, with policies by their letters."""
        for letter in "ab":
            self.daemon.put(self.endpoint(letter, policies.get(letter, "")))
            if f"vrf-{letter}" not in self.daemon.ports:
                self.listen(letter)

    def endpoint(self, letter: str, policy: str = "") -> ProxyEndpoint:
        """Return an endpoint as it is put."""
        return ProxyEndpoint(
            id=ENDPOINTS[letter],
            vpc=VPCS[letter],
            service=SERVICE,
            hosts=HOSTS,
            prefixes=("127.0.0.1/32",),
            upstream=self._upstream,
            tls=self._tls,
            policy=policy,
        )

    def listen(self, letter: str) -> None:
        """Open the sockets of an endpoint."""
        self.daemon.put(ProxyListener(ifname=f"vrf-{letter}", endpoint=ENDPOINTS[letter]))

    def bucket(self, name: str, policy: str) -> None:
        """Set the policy of a bucket; an empty one removes it."""
        obj = ProxyBucket(service=SERVICE, bucket=name, policy=policy)
        if policy:
            self.daemon.put(obj)
        else:
            self.daemon.delete(obj)

    def port(self, letter: str = "a", tls: bool = False) -> int:
        """Return the loopback port of an endpoint."""
        return self.daemon.ports[f"vrf-{letter}"][tls]

    def url(self, letter: str = "a") -> str:
        """Return the URL of an endpoint for clients."""
        return f"http://{LOOPBACK}:{self.port(letter)}"

    def client(self, letter: str = "a") -> S3:
        """Return an S3 client of an endpoint."""
        return client(self.url(letter))

    def connect(self, letter: str = "a", tls: bool = False) -> socket.socket:
        """Return a connection to an endpoint."""
        connection = socket.create_connection((LOOPBACK, self.port(letter, tls)))
        connection.settimeout(30.0)
        return connection

    def ask(self, raw: bytes, letter: str = "a") -> bytes:
        """Send bytes and return all bytes received until the other end closes."""
        with self.connect(letter) as connection:
            with suppress(ConnectionError):
                connection.sendall(raw)
            return everything(connection)

    def line(self, letter: str, method: str, status: int, target: str = "") -> Line:
        """Return the last line about such a request in the access log of an endpoint, once it is written.

        The line is written after the answer. `target` is a part of the request's target.
        """
        path = self.daemon.directory / "log" / f"{ENDPOINTS[letter]}.log"

        def found() -> list[Line]:
            lines = [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()] if path.exists() else []
            return [line for line in lines if (line.method, line.status) == (method, status) and target in line.target]

        return wait_for(found, f"a line of {method} with {status}")[-1]


def everything(connection: socket.socket) -> bytes:
    """Return all bytes from a connection until it ends, also by a reset."""
    got = b""
    try:
        while more := connection.recv(1 << 16):
            got += more
    except ConnectionResetError:
        pass
    return got
