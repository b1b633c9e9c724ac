"""What the agent needs of a kernel: a dump of what is ours, operations, and word of what changed behind our back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from typing import Protocol

import msgspec

from netorch.state.base import HOST_SLICE, KernelObject, Key
from netorch.state.flow import Flow
from netorch.state.op import Failure, Op


class Underlay(msgspec.Struct, frozen=True, kw_only=True):
    """What the compilers must know of the host's own network: the device that holds the VTEP address."""

    ifname: str
    mtu: int


class TableUse(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections the fabric's table holds, and how many it may hold at most; 0: as many as there are."""

    held: int
    most: int


class Seen(msgspec.Struct, frozen=True):
    """The kernel now holds this object (new or changed)."""

    obj: KernelObject


class Gone(msgspec.Struct, frozen=True):
    """The kernel no longer holds the object of this key, which belonged to this VPC."""

    key: Key
    vni: int = HOST_SLICE


class Lost(msgspec.Struct, frozen=True):
    """Notifications were lost, or something changed that notifications do not describe: dump again.

    `what` is "all"; "nft" (another program changed a table of ours, so only the tables must be dumped again); or "underlay"
    (the VTEP address came or went, or its device's MTU changed: ask `underlay` again, the dump shows nothing of it).
    """

    what: str


KernelEvent = Seen | Gone | Lost


class Kernel(Protocol):
    """One host's kernel: its underlay namespace and its fabric namespace, which is made when absent."""

    @property
    def identity(self) -> str:
        """Return which kernel this is: equal only for agents that would manage the same namespace."""
        ...

    def dump(self) -> dict[Key, KernelObject]:
        """Return every object that is ours, read from the kernel."""
        ...

    def dump_nft(self) -> dict[Key, KernelObject]:
        """Return our tables and their elements only."""
        ...

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order; nft operations of equal rank in a row are one transaction.

        A refused operation does not stop the others. An empty list means that everything was done.
        """
        ...

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None while there is none."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something."""
        ...

    def events(self) -> list[KernelEvent]:
        """Return what changed since the last call, other than by `apply`; never blocks."""
        ...

    def counters(self) -> dict[str, int]:
        """Return the packets counted by our named nft counters, e.g. {"unverified": 3, "spoofed": 0}.

        Beside them those that the kernel had no room for: "table_full", which the connection tracker could not take up, and
        "fragments_lost", which IPv4 could not put together.
        """
        ...

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the tracked connections of a conntrack zone of the fabric that one of these addresses is an end of.

        All of the zone when no addresses are named.
        """
        ...

    def forget_flows(self, flows: Iterable[Flow]) -> None:
        """Let the kernel forget connections; one that is gone already is fine."""
        ...

    def restore_flows(self, flows: Iterable[Flow]) -> None:
        """Let the kernel know connections that began elsewhere; of those that it knows it learns who tracks them."""
        ...

    def left_alone(self, ifname: str) -> str:
        """Return what stood in an instance's namespace when its port was plugged, and was left alone, or nothing."""
        ...

    def table_use(self) -> TableUse:
        """Return how full the fabric's connection table is."""
        ...

    def sample_zones(self, size: int) -> dict[int, int]:
        """Return how many of `size` connections, drawn by lot, each zone has; of all that live if there are fewer."""
        ...

    def refused_zones(self) -> frozenset[int]:
        """Return the zones that may begin no connection now."""
        ...

    def refuse_zones(self, zones: Set[int]) -> None:
        """Let these zones, and no others, begin no connection for some seconds from now on."""
        ...

    def close(self) -> None:
        """Let go of sockets; everything in the kernel stays."""
        ...
