"""Bodies of which more is read ahead while their first bytes wait for an end that is slow: nothing is left out."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from netorch.services.proxy.client_end import ClientEnd
from netorch.services.proxy.crowd import Client, Crowd
from netorch.services.proxy.head import Head
from netorch.services.proxy.journal.log import AccessLog
from netorch.services.proxy.policies import Policies
from netorch.services.proxy.tls.tunnel import Tunnel
from netorch.services.proxy.wire.heads import AnswerHead
from netorch.services.proxy.wire.stream import Stream
from netorch.state.daemons.services.proxy import ProxyEndpoint
from tests.unit.services.proxy.test_pump import connected

END = b"the end"
BODY = bytes(range(251)) * 16_000 + END  # 4 MB
FIRST = 1_000  # bytes that are there when it begins
PATIENCE_S = 20.0  # for a body that does not end
ENDPOINT = ProxyEndpoint(id="vpce-1", vpc="vpc-1", service="s3", hosts=(), prefixes=(), upstream="")


async def move(way: str, source: Stream, target: Stream, directory: Path) -> None:
    """Move the body as an answer, as a request, or as what a tunnel carries."""
    stream = target if way == "answer" else source
    client = Client(Crowd(lambda: 0.0, lambda endpoint: endpoint), ENDPOINT.id, stream.reset)
    if way == "answer":
        answer = AnswerHead(200, "OK", ((b"Content-Length", b"%d" % len(BODY)),), False, False)
        await ClientEnd(client, stream).pass_on(answer, source, is_bare=False, ends=False)
    elif way == "request":
        head = Head("PUT", "/", "s3.internal", None, (), len(BODY), False, False)
        await ClientEnd(client, stream).pass_body(head, target)
    else:
        tunnel = Tunnel(ENDPOINT, Policies(), AccessLog(directory), client, stream, ("10.0.0.5", 1))
        await tunnel._one_way(source, target, tunnel._took)


class Busy(Stream):
    """An end that takes nothing until it is told to."""

    is_busy = True

    def send(self, data: bytes | memoryview) -> memoryview:
        return memoryview(data) if self.is_busy else super().send(data)


def received(sock: socket.socket) -> bytes:
    """Return all up to the end of the body."""
    sock.settimeout(PATIENCE_S)
    found = bytearray()
    while not found.endswith(END):
        found += sock.recv(1 << 20)
    return bytes(found)


@pytest.mark.parametrize("way", ["answer", "request", "tunnel"])
def test_a_body_goes_whole_to_one_who_is_busy_when_it_begins(way: str, tmp_path: Path) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with connected() as (sender, source), connected() as (receiver, plain):
            plain.rest()
            target = Busy(plain._sock)
            sender.sendall(BODY[:FIRST])
            await source.more()
            moving = loop.create_task(move(way, source, target, tmp_path))
            sending = loop.run_in_executor(None, sender.sendall, BODY[FIRST:])
            while source.buffer[:1] != BODY[FIRST : FIRST + 1]:  # the first bytes are taken, and wait
                await asyncio.sleep(0)
            target.is_busy = False
            assert (await loop.run_in_executor(None, received, receiver)).endswith(BODY)
            await sending
            sender.close()
            await moving
            target.close()

    asyncio.run(test())
