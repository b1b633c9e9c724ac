"""The clients' connections of all endpoints: how many there may be, and how long a client may let the proxy wait.

They are counted by VPC, however many endpoints it has. A VPC that has all that it may have gives up its own longest idle
connection for a newcomer, which is turned away if all are at work. If all together have all that there may be, a VPC that has its
fair share or more gives up an idle one. Who has less than that gets a place even if nobody's is idle: then the VPC with the most
loses the one in which nothing has moved for the longest. So no VPC keeps another one out, whatever its connections do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from enum import Enum
from itertools import islice
from typing import Final, TypeVar

from netorch.services.proxy import limits
from netorch.services.proxy.journal.counts import CONNECTIONS, RESET

_NEVER: Final = float("inf")
_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets the connection, and the kernel keeps nothing of it
T = TypeVar("T")


class Use(Enum):
    """What a connection is at."""

    WAITING = "waiting"  # for a request, or for the end of its head
    WORKING = "working"  # a request is being answered
    TUNNEL = "tunnel"  # at work only while something moves


class Client(asyncio.Protocol):
    """A client's connection: what comes by it goes to `inner`, and it has a deadline by which the client must do something."""

    __slots__ = ("_admitted", "_allowance", "_crowd", "_inner", "_inside", "_transport", "deadline", "endpoint", "moved", "use")

    def __init__(self, crowd: Crowd, endpoint: str, inner: asyncio.Protocol) -> None:
        self._crowd = crowd
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._admitted = False
        self._inside = False  # whether a head has begun to come
        self._allowance = limits.GRACE_S
        self.endpoint = endpoint
        self.use = Use.WAITING
        self.moved = crowd.now()  # when something last did
        self.deadline = self.moved + limits.IDLE_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._admitted = self._crowd.admit(self)
        if self._admitted:
            self._inner.connection_made(transport)
        else:
            self.cut()

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        if self.use is Use.WAITING and not self._inside:
            self._inside = True
            self.deadline = self._crowd.now() + limits.HEAD_S
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        if self._admitted:
            self._inner.connection_lost(exc)

    def begin(self) -> None:
        """Note that a request is being answered: from now on only `awaited` makes the client hurry."""
        self._crowd.seen(self, Use.WORKING)
        self._allowance = limits.GRACE_S
        self.deadline = _NEVER

    def tunnelled(self) -> None:
        """Note that something has moved in what is a tunnel from now on, which is cut when nothing does for too long."""
        self._crowd.seen(self, Use.TUNNEL)
        self.deadline = self.moved + limits.TUNNEL_IDLE_S

    def end(self) -> None:
        """Note that the request was answered."""
        self._inside = False
        self._crowd.seen(self, Use.WAITING)
        self.deadline = self.moved + limits.IDLE_S

    async def awaited(self, done: Awaitable[T], size: Callable[[T], int]) -> T:
        """Wait for the client, which is cut off when that takes too long; `size` tells how many bytes have moved meanwhile."""
        began = self._crowd.now()
        self.deadline = began + self._allowance
        try:
            result = await done
        finally:
            self.deadline = _NEVER
        self._crowd.seen(self, self.use)
        earned = size(result) / limits.RATE
        self._allowance = min(limits.GRACE_S, self._allowance - (self._crowd.now() - began) + earned)
        return result

    @property
    def is_gone(self) -> bool:
        """Return whether the connection has ended, or was turned away."""
        return self._transport is None or self._transport.is_closing()

    def cut(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            reset(self._transport)


class _Share:
    """A VPC's connections. Of each use, the one in which nothing has moved for the longest comes first."""

    def __init__(self, vpc: str) -> None:
        self.vpc = vpc
        self.by_use: dict[Use, dict[Client, None]] = {use: {} for use in Use}

    def __len__(self) -> int:
        return sum(map(len, self.by_use.values()))

    def idle(self, now: float) -> Client | None:
        """Return the longest idle one."""
        quiet = (one for one in self._first(Use.TUNNEL) if now - one.moved >= limits.GRACE_S)
        return min((*self._first(Use.WAITING), *quiet), key=_moved, default=None)

    def slowest(self) -> Client | None:
        """Return the one in which nothing has moved for the longest, if all are at work."""
        return min((*self._first(Use.WORKING), *self._first(Use.TUNNEL)), key=_moved, default=None)

    def _first(self, use: Use) -> tuple[Client, ...]:
        return tuple(islice(self.by_use[use], 1))


class Crowd:
    """All connections, by VPC."""

    def __init__(
        self,
        now: Callable[[], float],
        vpc_of: Callable[[str], str],
        most: int = limits.CONNECTIONS,
        of_vpc: int = limits.CONNECTIONS_OF_VPC,
    ) -> None:
        """Take the time in seconds, the VPC of an endpoint, and how many connections there may be."""
        self.now = now
        self._vpc_of = vpc_of
        self._most = most
        self._of_vpc = of_vpc
        self._shares: dict[str, _Share] = {}
        self._place: dict[Client, _Share] = {}
        self._resets: Counter[str] = Counter()  # by endpoint

    def count(self, vpc: str) -> int:
        """Return how many connections a VPC has."""
        return len(self._shares.get(vpc, ()))

    def admit(self, client: Client) -> bool:
        """Return whether a newcomer may stay; another one may have to go for it."""
        vpc = self._vpc_of(client.endpoint)
        own = self._shares.get(vpc) or _Share(vpc)
        if len(own) >= self._of_vpc or len(self._place) >= self._most:
            victim = own.idle(self.now()) if len(own) >= self._of_vpc else self._victim(own)
            if victim is None:
                self._resets[client.endpoint] += 1
                return False
            self.leave(victim)
            self._reset(victim)
        self._shares[vpc] = own
        self._place[client] = own
        own.by_use[client.use][client] = None
        return True

    def seen(self, client: Client, use: Use) -> None:
        """Note that something has moved in a connection, and what it is at now."""
        if (share := self._place.get(client)) is not None:
            share.by_use[client.use].pop(client)
            share.by_use[use][client] = None
        client.moved, client.use = self.now(), use

    def leave(self, client: Client) -> None:
        """Note the end of a connection, if it still counts."""
        share = self._place.pop(client, None)
        if share is not None:
            share.by_use[client.use].pop(client)
            if not len(share):
                del self._shares[share.vpc]

    def cut(self, endpoint: str) -> None:
        """Reset all connections of an endpoint."""
        for client in [client for client in self._place if client.endpoint == endpoint]:
            client.cut()

    def cut_tunnels(self, permitted: Callable[[str], bool]) -> None:
        """Reset the tunnels of all endpoints by which none are permitted now."""
        open_now = [client for share in self._shares.values() for client in share.by_use[Use.TUNNEL]]
        closed = {endpoint for endpoint in {client.endpoint for client in open_now} if not permitted(endpoint)}
        for client in open_now:
            if client.endpoint in closed:
                client.cut()

    def sweep(self) -> None:
        """Cut off who is too slow."""
        now = self.now()
        for client in [client for client in self._place if client.deadline < now]:
            self._reset(client)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many connections each endpoint has, and how many of its were reset for want of a place or of speed."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for name, counted in ((CONNECTIONS, Counter(client.endpoint for client in self._place)), (RESET, self._resets)):
            for endpoint, count in counted.items():
                found[endpoint][name] = count
        return found

    def forget(self, endpoint: str) -> None:
        """Forget what was counted of an endpoint that is gone."""
        self._resets.pop(endpoint, None)

    def _reset(self, client: Client) -> None:
        self._resets[client.endpoint] += 1
        client.cut()

    def _victim(self, own: _Share) -> Client | None:
        """Return who goes for a newcomer to a share when there are as many as there may be; nobody: the newcomer goes."""
        now = self.now()
        shares = self._shares.values()
        fair = max(self._most // (len(shares) + (not len(own))), 1)
        idle = [share for share in shares if len(share) >= fair and share.idle(now) is not None]
        if idle:
            return max(idle, key=len).idle(now)
        largest = max(shares, key=len)
        return largest.slowest() if len(own) < fair < len(largest) else None


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once; the other end sees a reset, and takes no half for a whole."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def _moved(client: Client) -> float:
    return client.moved
