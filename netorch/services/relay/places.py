"""Limits the connections of each VPC and in total.

At its own limit, or at the total limit, a VPC gives up its longest quiet connection for a newcomer. If none is quiet, its
own limit refuses the newcomer. At the total limit the newcomer then takes a place from the largest VPC, quiet or not, if
that has more connections. So no VPC can keep another one out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from netorch.services.relay import limits


class Held(Protocol):
    """A connection that has a place."""

    @property
    def vni(self) -> int:
        """Return the VNI of its VPC."""
        ...

    @property
    def moved(self) -> float:
        """Return the time of its last traffic, in seconds."""
        ...

    def cut(self) -> None:
        """Reset the connection."""
        ...


class Places:
    """The places of all connections. In each VPC, the connection without traffic for the longest time comes first."""

    def __init__(self, of_vpc: int = limits.CONNECTIONS_OF_VPC, of_all: int = limits.CONNECTIONS) -> None:
        self._of_vpc: Final = of_vpc
        self._of_all: Final = of_all
        self._held: dict[int, OrderedDict[Held, None]] = {}
        self._count = 0

    def admit(self, newcomer: Held, now: float) -> bool:
        """Return whether a connection may start. Reset another one for it if necessary."""
        own = self._held.get(newcomer.vni, OrderedDict())
        if len(own) >= self._of_vpc or self._count >= self._of_all:
            victim = _quiet(own, now) or (self._slowest(len(own)) if len(own) < self._of_vpc else None)
            if victim is None:
                return False
            self.leave(victim)
            victim.cut()
        self._held.setdefault(newcomer.vni, OrderedDict())[newcomer] = None
        self._count += 1
        return True

    def moved(self, connection: Held) -> None:
        """Note traffic in a connection."""
        own = self._held.get(connection.vni)
        if own is not None and connection in own:
            own.move_to_end(connection)

    def leave(self, connection: Held) -> None:
        """Remove a connection, if it still has a place."""
        own = self._held.get(connection.vni)
        if own is None or connection not in own:
            return
        del own[connection]
        self._count -= 1
        if not own:
            del self._held[connection.vni]

    def sweep(self, now: float) -> None:
        """Reset the connections without traffic for too long."""
        for own in tuple(self._held.values()):
            for connection in tuple(own):
                if now - connection.moved < limits.IDLE_S:
                    break
                connection.cut()

    def _slowest(self, count: int) -> Held | None:
        """Return the longest quiet connection of the largest VPC, if that VPC has more than `count` + 1 connections."""
        most = max(self._held.values(), key=len)
        return next(iter(most)) if len(most) > count + 1 else None


def _quiet(own: OrderedDict[Held, None], now: float) -> Held | None:
    first = next(iter(own), None)
    return first if first is not None and now - first.moved >= limits.QUIET_S else None
