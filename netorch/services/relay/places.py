"""Who may have how many connections.

A VPC that has all that it may have gives up the longest quiet one for a newcomer, which is turned away if something moves in all.
If all VPCs together have all that there may be, the one with the most gives up a connection for a newcomer of one that has less,
quiet or not. So no VPC keeps another one out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from netorch.services.relay import limits


class Held(Protocol):
    """A connection that has a place."""

    @property
    def vni(self) -> int:
        """Return the VPC that it counts for."""
        ...

    @property
    def moved(self) -> float:
        """Return when something has moved in it, in seconds."""
        ...

    def cut(self) -> None:
        """Reset it."""
        ...


class Places:
    """The places of all connections. In each VPC the one in which nothing has moved for the longest comes first."""

    def __init__(self, of_vpc: int = limits.CONNECTIONS_OF_VPC, of_all: int = limits.CONNECTIONS) -> None:
        self._of_vpc: Final = of_vpc
        self._of_all: Final = of_all
        self._held: dict[int, OrderedDict[Held, None]] = {}
        self._count = 0

    def admit(self, newcomer: Held, now: float) -> bool:
        """Return whether a connection may begin; another one may have to go for it."""
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
        """Note that something has moved in a connection."""
        own = self._held.get(connection.vni)
        if own is not None and connection in own:
            own.move_to_end(connection)

    def leave(self, connection: Held) -> None:
        """Note the end of a connection, if it still has a place."""
        own = self._held.get(connection.vni)
        if own is None or connection not in own:
            return
        del own[connection]
        self._count -= 1
        if not own:
            del self._held[connection.vni]

    def sweep(self, now: float) -> None:
        """Cut those in which nothing has moved for too long."""
        for own in tuple(self._held.values()):
            for connection in tuple(own):
                if now - connection.moved < limits.IDLE_S:
                    break
                connection.cut()

    def _slowest(self, count: int) -> Held | None:
        """Return the longest quiet one of the VPC with the most, if that has more than one that gets its `count` plus one."""
        most = max(self._held.values(), key=len)
        return next(iter(most)) if len(most) > count + 1 else None


def _quiet(own: OrderedDict[Held, None], now: float) -> Held | None:
    first = next(iter(own), None)
    return first if first is not None and now - first.moved >= limits.QUIET_S else None
