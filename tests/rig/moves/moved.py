"""An instance that moves between hosts while a client talks to it on one TCP connection, and another client is refused."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from typing import Final

import msgspec

from netorch.control.actions.moves import move_instance
from tests.rig.moves.conversation import Conversation, Echoes, tcp_socket
from tests.rig.world import World, wait_for

PORT: Final = 7000
ADDRESS: Final = "10.44.12.4"
TARGETS: Final = ("hv3", "hv2", "hv1")  # of moves in turn; the client stays on hv2
_MOVED: Final = "acme/moved"
_CLOUD: Final = f"""
vpcs:
- name: acme
  cidrs: [10.44.0.0/16]
  subnets: [{{name: app, cidr: 10.44.12.0/24}}]
  security_groups:
  - {{name: clients}}
  - {{name: servers, ingress: [{{protocol: tcp, ports: {PORT}, source: sg-clients}}]}}
  instances:
  - {{name: moved, host: hv1, address: {ADDRESS}, security_groups: [servers]}}
  - {{name: client, host: hv2, address: 10.44.12.5, security_groups: [clients]}}
  - {{name: refused, host: hv2, address: 10.44.12.6}}
"""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The longest silence of the connection during a move, in seconds, and whether the refused client got through."""

    silence_s: float
    was_open: bool


class MovedInstance:
    """The instance, and its clients. The agents of the world's hosts are processes."""

    def __init__(self, world: World) -> None:
        world.apply(_CLOUD)
        self._world = world
        self._instance = world.instance(_MOVED).id
        self._refused = world.instance("acme/refused").id
        self._echoes = Echoes(self._instance, PORT)
        self.talk = Conversation(world.instance("acme/client").id, ADDRESS, PORT)

    def move(self, host: str) -> Moved:
        """Move it, and wait until the move is over and the connection has gone on after that."""
        self.talk.silence_s()
        with ExitStack() as attempts:
            refused = [self._connect(attempts)]
            move_instance(self._world.store, self._world.caller, self._instance, host)

            def has_settled() -> bool:
                refused.append(self._connect(attempts))  # a new SYN: the kernel repeats one only after a second
                return self._has_settled(host)

            wait_for(has_settled, f"the move to {host}")
            said = self.talk.said
            wait_for(lambda: self.talk.goes_on(said), "the connection to go on")
            was_open = any(_is_open(attempt) for attempt in refused)
        return Moved(silence_s=self.talk.silence_s(), was_open=was_open)

    def _connect(self, attempts: ExitStack) -> socket.socket:
        """Let the refused client try to connect."""
        attempt = attempts.enter_context(tcp_socket(self._refused))
        attempt.setblocking(False)
        attempt.connect_ex((ADDRESS, PORT))
        return attempt

    def _has_settled(self, host: str) -> bool:
        mapping = self._world.mapping(_MOVED)
        return mapping.host == host and mapping.move is None

    def close(self) -> None:
        """Close the connection and the server."""
        self.talk.close()
        self._echoes.close()


def _is_open(attempt: socket.socket) -> bool:
    poller = select.poll()
    poller.register(attempt, select.POLLOUT)
    return [found for _, found in poller.poll(0)] == [select.POLLOUT]
