"""Datagrams from instances to an internet server, as flows that ICMP errors can quote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import msgspec

from netorch.model.packet import Packet
from netorch.model.security import UDP
from tests.integration.edges.isolation.customers import Rules
from tests.rig.datagrams import kept_up
from tests.rig.outskirts import ANY, INTERNET, Outskirts, udp_socket

PORT: Final = 7000


class Flow(msgspec.Struct, frozen=True):
    """Datagrams from an instance to a server, as both ends see them."""

    inside: Packet
    outside: Packet


@contextmanager
def flowing(outskirts: Outskirts, rules: Rules, senders: Iterable[str]) -> Iterator[dict[str, Flow]]:
    """Yield a flow for each sender; all flows go on during the block."""
    found: dict[str, Flow] = {}
    to = (rules.site.server, PORT)
    with ExitStack() as stack:
        server = stack.enter_context(udp_socket(INTERNET, to))
        clients = []
        for name in senders:
            own = rules.instances[name].private
            client = stack.enter_context(udp_socket(outskirts.place(name), (ANY[6 if ":" in own else 4], 0)))
            client.connect(to)
            client.send(name.encode())
            _, (public, port, *more) = server.recvfrom(64)
            server.sendto(b"answer", (public, port, *more))
            assert client.recv(16) == b"answer"
            inside = Packet(
                source=own, destination=to[0], protocol=UDP, source_port=client.getsockname()[1], destination_port=PORT
            )
            found[name] = Flow(inside, msgspec.structs.replace(inside, source=public, source_port=port))
            clients.append(client)
        for client in clients:
            stack.enter_context(kept_up(partial(client.send, b"again")))
        yield found
