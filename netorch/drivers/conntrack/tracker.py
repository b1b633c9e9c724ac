"""Connection tracking of one namespace: its connections, its table as a whole, and zones blocked for new connections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Set

from netorch.drivers.base import Count, TableUse
from netorch.drivers.conntrack.flows import Conntrack
from netorch.drivers.conntrack.idle import IdleEnds
from netorch.drivers.conntrack.table import ConnectionTable, refusing
from netorch.drivers.ip_counters import IpCounters
from netorch.state.flow import Flow
from netorch.state.nft import HANDING_OVER, OVER_ALLOWANCE


class Tracker:
    """Implements `netorch.drivers.base.ConnectionTracker`. Only one thread at a time may use it."""

    def __init__(self, netns_fd: int, connections: Conntrack, commit: Callable[[bytes], None]) -> None:
        """Open; `netns_fd` must stay open. `commit` commits a packed nftables transaction there. Raises OSError."""
        self._connections = connections
        self._commit = commit
        self._table = ConnectionTable(netns_fd)
        self._ip = IpCounters(netns_fd)

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the tracked connections of a zone, or those of some addresses in it."""
        return self._connections.dump(zone, addresses)

    def forget(self, flows: Iterable[Flow]) -> None:
        """Delete connections."""
        self._connections.forget(flows)

    def restore(self, flows: Iterable[Flow]) -> None:
        """Add connections that began elsewhere."""
        self._connections.restore(flows)

    def answered_at(self, addresses: Collection[str]) -> set[str]:
        """Return those of the IPv4 addresses that replies are sent to."""
        return self._connections.answered_at(addresses)

    def use(self) -> TableUse:
        """Return how full the table is."""
        return self._table.use()

    def sample(self, size: int) -> dict[int, int]:
        """Return the number of sampled connections by zone."""
        return self._table.sample(size)

    def refused(self) -> frozenset[int]:
        """Return the zones that cannot open new connections at present."""
        return self._table.refused()

    def refuse(self, zones: Set[int]) -> None:
        """Block new connections in exactly these zones for the next few seconds."""
        self._commit(refusing(OVER_ALLOWANCE, zones))

    def hand_over(self, zones: Set[int]) -> None:
        """Block new connections in exactly these zones for some seconds, because they are being handed over."""
        self._commit(refusing(HANDING_OVER, zones))

    def counters(self) -> dict[str, int]:
        """Return the numbers of packets that the kernel had no room for. Raises KernelError."""
        return {"table_full": self._table.turned_away(), "fragments_lost": self._ip.fragments_lost()}

    def close(self) -> None:
        """Close the sockets."""
        self._connections.close()
        self._table.close()
        self._ip.close()


class GatewayTracker(Tracker):
    """Connection tracking of a gateway's namespace, with its part of the gateway's counters."""

    def __init__(self, netns_fd: int, connections: Conntrack, commit: Callable[[bytes], None]) -> None:
        """Open, as `Tracker`. Raises OSError, KernelError."""
        super().__init__(netns_fd, connections, commit)
        self._idle = IdleEnds(netns_fd)

    def gateway_counters(self) -> dict[str, Count]:
        """Return packets dropped for lack of room or of a free port, and idle connections that ended. Raises KernelError."""
        found = {"table_full": self._table.turned_away(), "no_port": self._table.clashes(), "idle": self._idle.total()}
        return {name: Count(packets=number) for name, number in found.items()}

    def close(self) -> None:
        """Close the sockets."""
        self._idle.close()
        super().close()
