"""Open tunnels when a policy changes, in one process on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from netorch.services.proxy.handler import Proxy
from netorch.services.proxy.journal.line import Line
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener
from tests.unit.services.proxy.test_hello import hello

LOOPBACK = "127.0.0.1"
PING = b"\nping\n"
STATEMENT = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
OPEN = json.dumps({"Statement": STATEMENT})
CLOSED = json.dumps({"Statement": {**STATEMENT, "Action": "s3:GetObject"}})
NOT_A = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:GetObject",
    "Resource": "arn:aws:s3:::victim/*",
    "Condition": {"StringEquals": {"aws:sourceVpc": "vpc-a"}},
}
Changes = Sequence[ProxyEndpoint | ProxyBucket]


def endpoint(letter: str, tls: str = "", policy: str = "") -> ProxyEndpoint:
    return ProxyEndpoint(
        id=f"vpce-{letter}",
        vpc=f"vpc-{letter}",
        service="s3",
        hosts=("s3.internal",),
        prefixes=(),
        upstream="http://127.0.0.1:1",
        tls=tls,
        policy=policy,
    )


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Act as the upstream server: send `!` first, and answer a ping."""
    writer.write(b"!")
    with suppress(ConnectionError):
        got = b""
        while more := await reader.read(1 << 16):
            got += more
            if got.endswith(PING):
                writer.write(PING)
    writer.close()


async def opened(proxy: Proxy, letter: str, tls: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a client's connection through an endpoint, once the upstream server has answered."""
    await proxy.put(endpoint(letter, tls), ())
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(2)]
    for sock in sockets:
        sock.setblocking(False)
    await proxy.put(ProxyListener(ifname=f"vrf-{letter}", endpoint=f"vpce-{letter}"), sockets)
    reader, writer = await asyncio.open_connection(*sockets[1].getsockname())
    writer.write(hello("mine.s3.internal"))
    assert await reader.readexactly(1) == b"!"
    return reader, writer


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Return whether a ping is answered; otherwise the connection was reset."""
    try:
        writer.write(PING)
        return await reader.readexactly(len(PING)) == PING
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()


async def cut(directory: Path, changes: Changes) -> list[bool]:
    """Return whether changes cut the tunnel of each of two endpoints, `a` and `b`."""
    proxy = Proxy(directory)
    server = await asyncio.start_server(serve, LOOPBACK, 0)
    tls = "{}:{}".format(*server.sockets[0].getsockname())
    clients = [await opened(proxy, letter, tls) for letter in "ab"]
    for change in changes:
        await proxy.put(msgspec.structs.replace(change, tls=tls) if isinstance(change, ProxyEndpoint) else change, ())
    found = [not await answered(*client) for client in clients]
    await proxy.end()
    server.close()
    while len(asyncio.all_tasks()) > 1:  # the remaining tasks of the connections
        await asyncio.sleep(0)
    return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([endpoint("a", policy=CLOSED)], [True, False]),
        ([endpoint("a", policy=OPEN)], [False, False]),
        ([ProxyBucket(service="s3", bucket="victim", policy=json.dumps({"Statement": NOT_A}))], [True, False]),
        ([ProxyBucket(service="other", bucket="victim", policy=json.dumps({"Statement": NOT_A}))], [False, False]),
    ],
)
def test_those_are_cut_that_would_not_be_permitted_now(tmp_path: Path, changes: Changes, expected: list[bool]) -> None:
    assert asyncio.run(cut(tmp_path, changes)) == expected
    log = tmp_path / "vpce-a.log"
    (line,) = [msgspec.json.decode(line, type=Line) for line in log.read_bytes().splitlines()]
    assert ("does not permit everything" in line.reason) is expected[0]
