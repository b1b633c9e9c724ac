"""The clients' connections of all endpoints: how many there may be, and how long a client may let the proxy wait.

They are counted by VPC, however many endpoints it has. A VPC that has all that it may have gives up its own longest idle
connection for a newcomer, which is turned away if all are at work. If all together have all that there may be, a VPC that has its
fair share or more gives up an idle one. Who has less than that gets a place even if nobody's is idle: then the VPC with the most
loses the one in which nothing has moved for the longest. So no VPC keeps another one out, whatever its connections do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from enum import Enum
from itertools import islice
from typing import Final, TypeVar

from netorch.services.proxy import limits
from netorch.services.proxy.journal.counts import CONNECTIONS, RESET

_NEVER: Final = float("inf")
T = TypeVar("T")


class Use(Enum):
    """What a connection is at."""

    WAITING = "waiting"  # for a request, or for the end of its head
    WORKING = "working"  # a request is being answered
    TUNNEL = "tunnel"  # at work only while something moves


class Client:
    """A client's connection: what it is at, and by when the client must do something."""

    __slots__ = ("_allowance", "_crowd", "_cut", "_since", "deadline", "endpoint", "moved", "use")

    def __init__(self, crowd: Crowd, endpoint: str, cut: Callable[[], None]) -> None:
        """Take what resets the connection."""
        self._crowd = crowd
        self._cut = cut
        self._allowance = limits.GRACE_S
        self._since = _NEVER  # since when the client lets the proxy wait
        self.endpoint = endpoint
        self.use = Use.WAITING
        self.moved = crowd.now()  # when something last did
        self.deadline = self.moved + limits.IDLE_S

    def head_begins(self) -> None:
        """Note that the first bytes of a head have come."""
        self.deadline = self._crowd.now() + limits.HEAD_S

    def begin(self) -> None:
        """Note that a request is being answered: from now on only `hurry` makes the client hurry."""
        self._crowd.seen(self, Use.WORKING)
        self._allowance = limits.GRACE_S
        self.rest()

    def tunnelled(self) -> None:
        """Note that something has moved in what is a tunnel from now on, which is cut when nothing does for too long."""
        self._crowd.seen(self, Use.TUNNEL)
        self.deadline = self.moved + limits.TUNNEL_IDLE_S

    def end(self) -> None:
        """Note that the request was answered."""
        self._crowd.seen(self, Use.WAITING)
        self._since = _NEVER
        self.deadline = self.moved + limits.IDLE_S

    def hurry(self) -> None:
        """Wait for the client from now on, which is cut off when that takes too long."""
        self._since = self._crowd.now()
        self.deadline = self._since + self._allowance

    def earn(self, size: int) -> None:
        """Note that so many bytes have moved, for which the client may let the proxy wait again."""
        self._crowd.seen(self, self.use)
        waited = max(self.moved - self._since, 0.0)
        self._allowance = min(limits.GRACE_S, self._allowance - waited + size / limits.RATE)
        if self._since is not _NEVER:
            self._since = self.moved
            self.deadline = self.moved + self._allowance

    def rest(self) -> None:
        """Wait for somebody else than the client."""
        if self._since is not _NEVER:
            self._allowance -= self._crowd.now() - self._since
        self._since = self.deadline = _NEVER

    async def awaited(self, done: Awaitable[T], size: Callable[[T], int]) -> T:
        """Wait for the client; `size` tells how many bytes have moved meanwhile."""
        self.hurry()
        try:
            result = await done
            self.earn(size(result))
        finally:
            self.rest()
        return result

    def cut(self) -> None:
        """Reset the connection."""
        self._cut()


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


def _moved(client: Client) -> float:
    return client.moved
