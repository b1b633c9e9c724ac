"""The clients' connections of all endpoints: their maximum number, and how long a client may keep the proxy waiting.

Connections count by VPC, however many endpoints it has. A VPC at its own limit gives up its longest idle connection for
a newcomer. If none is idle, the proxy resets the newcomer. At the limit of all VPCs, a VPC with its fair share or more
gives up an idle connection. If no such VPC has an idle one, a VPC below its fair share still gets a place: the largest
VPC loses the connection without traffic for the longest time. So no VPC can keep another one out, whatever its
connections do.
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
    """The state of a connection."""

    WAITING = "waiting"  # for a request, or for the rest of its head
    WORKING = "working"  # a request is being answered
    TUNNEL = "tunnel"  # busy only while bytes move


class Client:
    """A client's connection: its state, and the deadline for the client's next action."""

    __slots__ = ("_allowance", "_crowd", "_cut", "_since", "deadline", "endpoint", "moved", "use")

    def __init__(self, crowd: Crowd, endpoint: str, cut: Callable[[], None]) -> None:
        """Take the function that resets the connection."""
        self._crowd = crowd
        self._cut = cut
        self._allowance = limits.GRACE_S
        self._since = _NEVER  # since when the proxy has waited for the client
        self.endpoint = endpoint
        self.use = Use.WAITING
        self.moved = crowd.now()  # the time of the last traffic
        self.deadline = self.moved + limits.IDLE_S

    def head_begins(self) -> None:
        """Note that the first bytes of a head have arrived."""
        self.deadline = self._crowd.now() + limits.HEAD_S

    def begin(self) -> None:
        """Note the start of an answer. From now on only `hurry` sets a deadline for the client."""
        self._crowd.seen(self, Use.WORKING)
        self._allowance = limits.GRACE_S
        self.rest()

    def tunnelled(self) -> None:
        """Note traffic in a connection that is a tunnel from now on. A tunnel without traffic for too long is cut."""
        self._crowd.seen(self, Use.TUNNEL)
        self.deadline = self.moved + limits.TUNNEL_IDLE_S

    def end(self) -> None:
        """Note that the request is answered."""
        self._crowd.seen(self, Use.WAITING)
        self._since = _NEVER
        self.deadline = self.moved + limits.IDLE_S

    def hurry(self) -> None:
        """Wait for the client from now on. The client is cut off at the deadline."""
        self._since = self._crowd.now()
        self.deadline = self._since + self._allowance

    def earn(self, size: int) -> None:
        """Note that `size` bytes have moved. They extend the time that the client may keep the proxy waiting."""
        self._crowd.seen(self, self.use)
        waited = max(self.moved - self._since, 0.0)
        self._allowance = min(limits.GRACE_S, self._allowance - waited + size / limits.RATE)
        if self._since is not _NEVER:
            self._since = self.moved
            self.deadline = self.moved + self._allowance

    def rest(self) -> None:
        """Stop the clock: the proxy waits for something other than the client."""
        if self._since is not _NEVER:
            self._allowance -= self._crowd.now() - self._since
        self._since = self.deadline = _NEVER

    async def awaited(self, done: Awaitable[T], size: Callable[[T], int]) -> T:
        """Wait for the client. `size` returns the number of bytes moved meanwhile."""
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
    """The connections of a VPC. For each use, the connection without traffic for the longest time comes first."""

    def __init__(self, vpc: str) -> None:
        self.vpc = vpc
        self.by_use: dict[Use, dict[Client, None]] = {use: {} for use in Use}

    def __len__(self) -> int:
        return sum(map(len, self.by_use.values()))

    def idle(self, now: float) -> Client | None:
        """Return the longest idle connection."""
        quiet = (one for one in self._first(Use.TUNNEL) if now - one.moved >= limits.GRACE_S)
        return min((*self._first(Use.WAITING), *quiet), key=_moved, default=None)

    def slowest(self) -> Client | None:
        """Return the busy connection without traffic for the longest time."""
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
        """Take a clock in seconds, the function from an endpoint to its VPC, and the limits on connections."""
        self.now = now
        self._vpc_of = vpc_of
        self._most = most
        self._of_vpc = of_vpc
        self._shares: dict[str, _Share] = {}
        self._place: dict[Client, _Share] = {}
        self._resets: Counter[str] = Counter()  # by endpoint

    def count(self, vpc: str) -> int:
        """Return the number of a VPC's connections."""
        return len(self._shares.get(vpc, ()))

    def admit(self, client: Client) -> bool:
        """Return whether a new connection may stay. Reset another connection for it if necessary."""
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
        """Note traffic in a connection, and its state."""
        if (share := self._place.get(client)) is not None:
            share.by_use[client.use].pop(client)
            share.by_use[use][client] = None
        client.moved, client.use = self.now(), use

    def leave(self, client: Client) -> None:
        """Remove a connection, if it is still counted."""
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
        """Reset the tunnels of all endpoints that no longer permit any."""
        open_now = [client for share in self._shares.values() for client in share.by_use[Use.TUNNEL]]
        closed = {endpoint for endpoint in {client.endpoint for client in open_now} if not permitted(endpoint)}
        for client in open_now:
            if client.endpoint in closed:
                client.cut()

    def sweep(self) -> None:
        """Reset the connections that have missed their deadline."""
        now = self.now()
        for client in [client for client in self._place if client.deadline < now]:
            self._reset(client)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return each endpoint's number of open connections, and of those reset for lack of a place or of speed."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for name, counted in ((CONNECTIONS, Counter(client.endpoint for client in self._place)), (RESET, self._resets)):
            for endpoint, count in counted.items():
                found[endpoint][name] = count
        return found

    def forget(self, endpoint: str) -> None:
        """Drop the counters of a deleted endpoint."""
        self._resets.pop(endpoint, None)

    def _reset(self, client: Client) -> None:
        self._resets[client.endpoint] += 1
        client.cut()

    def _victim(self, own: _Share) -> Client | None:
        """Return the connection to reset for a newcomer to a share at the total limit. None: the newcomer is reset."""
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
