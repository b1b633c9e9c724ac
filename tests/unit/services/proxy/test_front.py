"""Malformed requests at listening sockets: the answers and the log."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import msgspec
import pytest

from netorch.services.proxy.handler import Proxy
from netorch.services.proxy.journal.line import Line
from netorch.state.daemons.services.proxy import ProxyEndpoint, ProxyListener

ENDPOINT = ProxyEndpoint(id="vpce-1", vpc="vpc-1", service="s3", hosts=("s3.internal",), prefixes=(), upstream="http://192.0.2.1")
START = b"GET /buc/k HTTP/1.1\r\n"


def listening() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    return sock


async def answer(directory: Path, raw: bytes) -> bytes:
    """Return an endpoint's answer to bytes."""
    proxy, plain = Proxy(directory), listening()
    await proxy.put(ENDPOINT, [])
    await proxy.put(ProxyListener(ifname="vrf-a", endpoint=ENDPOINT.id), [plain, listening()])
    reader, writer = await asyncio.open_connection(*plain.getsockname())
    writer.write(raw)
    got = await reader.read()
    writer.close()
    await proxy.end()
    return got


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (START + b"Host: canary\xff\r\n\r\n", "not in UTF-8"),
        (START + b"Host: s3.internal\r\nAuthorization: canary" + b"a" * 70_000 + b"\r\n\r\n", "to the letter"),
        (START + b"Host: s3.internal\r\nX-A : canary\r\n\r\n", "to the letter"),
        (b"canary\r\n\r\n", "to the letter"),
    ],
    ids=["a host that is no text", "a secret that is too long", "a header that is none", "no HTTP"],
)
def test_a_request_that_is_none_has_a_line_and_nothing_of_it_is_in_the_daemons_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: bytes, said: str
) -> None:
    with caplog.at_level(logging.INFO):
        got = asyncio.run(answer(tmp_path, raw))
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"canary" not in got
    (line,) = (tmp_path / "vpce-1.log").read_bytes().splitlines()
    found = msgspec.json.decode(line, type=Line)
    assert (found.status, found.source, said in found.reason) == (400, "127.0.0.1", True)
    assert caplog.records == []
