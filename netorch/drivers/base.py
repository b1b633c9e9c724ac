"""What the agent needs of a host's kernel, and what a part of it, a driver, has to offer.

A driver is one conversation about some kinds of objects in one namespace: it dumps them, carries out operations, and reports
changes that others made. A kernel is a list of drivers (netorch.drivers.composition). Connections are not objects, because
nobody declares them, so tracking them has a protocol of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from enum import Enum
from typing import Final, NamedTuple, Protocol

import msgspec

from netorch.model.status import BorderSession, TunnelStatus
from netorch.state.base import HOST_SLICE, KernelObject, Key
from netorch.state.flow import Flow
from netorch.state.op import Failure, Op


class Underlay(msgspec.Struct, frozen=True, kw_only=True):
    """What the compilers must know of the host's own network: the device that holds the VTEP address."""

    ifname: str
    mtu: int
    carries: bool = True  # whether it is up and connected to something


class TableUse(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections a namespace's table holds, and how many it may hold at most; 0: as many as there are."""

    held: int
    most: int


class Answer(Enum):
    """What an edge says of itself when it answers an echo."""

    NOT_READY = "not ready"
    STANDBY = "standby"  # it is ready, and gateways that keep state are used at another edge
    ACTIVE = "active"  # it is ready


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter of tc, or a rule of nftables, has counted since it was made. Of a filter at egress with Ethernet headers."""

    packets: int
    bytes: int = 0


class Seen(msgspec.Struct, frozen=True):
    """The kernel now holds this object (new or changed)."""

    obj: KernelObject


class Gone(msgspec.Struct, frozen=True):
    """The kernel no longer holds the object of this key, which belonged to this VPC."""

    key: Key
    vni: int = HOST_SLICE


class Lost(msgspec.Struct, frozen=True):
    """Notifications were lost, or something changed that they do not describe: these kinds must be dumped again, or all."""

    kinds: frozenset[str] | None = None


class UnderlayChanged(msgspec.Struct, frozen=True):
    """The VTEP address, or its device's carrier, came or went, or its MTU changed: ask `underlay` again, no dump shows it."""


class TunnelsChanged(msgspec.Struct, frozen=True):
    """The SAs of tunnels came or went, or something is known of why they do not: ask `tunnels` again, a dump shows no SAs."""


class LearnedChanged(msgspec.Struct, frozen=True):
    """What customers' routers announce has changed the routes of this routing table: ask `learned`, a dump does not show them.

    Nothing is said of routes that go with a device which `apply` takes down.
    """

    table: int


KernelEvent = Seen | Gone | Lost | UnderlayChanged | TunnelsChanged | LearnedChanged


class LearnedRoute(msgspec.Struct, frozen=True):
    """A route that a customer's router has announced. `metric` is its session's, plus the length of the AS path."""

    prefix: str  # canonical
    metric: int
    ifname: str  # the device that it leads to


class CustomerSession(msgspec.Struct, frozen=True, kw_only=True):
    """How a BGP session is. `state` is BGP's (RFC 4271 section 8.2.2), or Down without a daemon."""

    state: str
    reason: str = ""  # what is known of why it is not established
    accepted: int = 0  # prefixes


class Driver(Protocol):
    """One conversation: a protocol of the kernel, or a daemon, in one of the host's namespaces."""

    @property
    def netns(self) -> str:
        """Return the namespace whose objects it applies."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of objects that it applies; no other driver of the namespace has one of them."""
        ...

    def dump(self) -> dict[Key, KernelObject]:
        """Return what is there of ours. Raises KernelError."""
        ...

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out operations on objects of its kinds in order; return those refused, which do not stop the others."""
        ...

    def events(self) -> list[KernelEvent]:
        """Return what changed since the last call, other than by `apply`; never blocks. Raises KernelError."""
        ...

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when `events` has something, or None if there is none."""
        ...

    def close(self) -> None:
        """Let go of sockets; everything in the kernel stays."""
        ...


class Watcher:
    """What drivers have in common that own no objects, and only watch."""

    kinds: Final[frozenset[str]] = frozenset()

    def dump(self) -> dict[Key, KernelObject]:
        """Return nothing."""
        return {}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do nothing."""
        return []


class SharedTable(Protocol):
    """A connection table that VPCs share, each of which has zones of its own in it."""

    def use(self) -> TableUse:
        """Return how full the table is. Raises KernelError."""
        ...

    def sample(self, size: int) -> dict[int, int]:
        """Return how many of at least `size` connections, drawn by lot, each zone has; of all that live if there are fewer."""
        ...

    def refused(self) -> frozenset[int]:
        """Return the zones that may begin no connection now."""
        ...

    def refuse(self, zones: Set[int]) -> None:
        """Let these zones, and no others, begin no connection for some seconds from now on."""
        ...


class ConnectionTracker(SharedTable, Protocol):
    """Connection tracking of one namespace."""

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the tracked connections of a zone that one of these addresses is an end of; all when none are named."""
        ...

    def forget(self, flows: Iterable[Flow]) -> None:
        """Let the kernel forget connections; one that is gone already is fine."""
        ...

    def restore(self, flows: Iterable[Flow]) -> None:
        """Let the kernel know connections that began elsewhere; of those that it knows it learns who tracks them."""
        ...

    def hand_over(self, zones: Set[int]) -> None:
        """Let these zones, and no others, begin no connection for some seconds, as `refuse`, which it leaves as it is."""
        ...

    def answered_at(self, addresses: Collection[str]) -> set[str]:
        """Return those of some IPv4 addresses that answers of connections come to: translated ones have such an address."""
        ...


class Knock(NamedTuple):
    """A question whether a target answers: in a namespace, from an address there, by a device."""

    netns: str  # label
    source: str
    ifname: str
    address: str
    port: int  # of TCP


class Knocks(Protocol):
    """Attempts to connect to targets, each of which is given up once it is answered."""

    def begin(self, knocks: Iterable[Knock]) -> None:
        """Knock once at each; those that have not answered so far do not count any more."""
        ...

    def answered(self) -> set[Knock]:
        """Return who has answered since the last call; never blocks."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when somebody has answered, or has refused."""
        ...

    def close(self) -> None:
        """Let go of all."""
        ...


class Echoes(Protocol):
    """ICMP echoes to other hosts, from an address of this one."""

    def send(self, vteps: Iterable[str]) -> None:
        """Send an echo to each. One that cannot be sent, e.g. for want of a route, stays without an answer."""
        ...

    def heard(self) -> dict[str, Answer]:
        """Return what everybody has answered last since the last call, as far as answers have come; never blocks."""
        ...

    def asked(self) -> bool:
        """Return whether an echo of somebody has come to this host since the last call."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class Kernel(Protocol):
    """One host's kernel: its underlay namespace, its overlay namespace, which is made when absent, and those asked for."""

    @property
    def identity(self) -> str:
        """Return which kernel this is: equal only for agents that would manage the same namespace."""
        ...

    @property
    def trackers(self) -> Mapping[str, ConnectionTracker]:
        """Return connection tracking by label of the namespace: of the overlay, and of the gateways that are there now."""
        ...

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        """Return every object that is ours, read from the kernel; of these kinds only, if some are named."""
        ...

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order. A refused one does not stop the others.

        An empty list means that everything was done.
        """
        ...

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None while there is none."""
        ...

    def has_carrier(self, ifname: str) -> bool:
        """Return whether a device in the outside is there, up, and connected to something. Raises KernelError."""
        ...

    def echoes(self, source: str) -> Echoes:
        """Return a socket for echoes in the underlay namespace. Raises KernelError, e.g. when no device has the address."""
        ...

    def knocks(self) -> Knocks:
        """Return what knocks at targets from gateways' namespaces."""
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

    def filter_counts(self, ifname: str) -> dict[Key, Count]:
        """Return what each tc filter of a device in the overlay has taken; nothing if there is none such. Raises KernelError."""
        ...

    def gateway_counters(self, netns: str) -> dict[str, Count]:
        """Return what was counted in the namespace of a gateway; nothing where it is not there. Raises KernelError.

        Beside the counters of its table "table_full", and "no_port": packets for which no port was free; and "idle": TCP
        connections that have ended because nothing was sent, since this kernel was opened.
        """
        ...

    def service_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return what netorch's own daemons have counted since they began, by the id of the thing and by name.

        Of a gateway endpoint (netorch.services.proxy.journal.counts says what each means): `connections`, `requests`, `denied`,
        `malformed`, `unavailable`, `broken`, `reset`, `received`, `sent`. What is 0 is left out.
        """
        ...

    def border_sessions(self) -> tuple[BorderSession, ...]:
        """Return how an edge's sessions with the border router are; none if it has none."""
        ...

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return how each IKE connection of an edge is, by its name, without what BGP says; none if it has none.

        To be asked each second: this also tells a daemon that hangs, and begins tunnels that this side is to begin.
        """
        ...

    def customer_sessions(self) -> Mapping[str, CustomerSession]:
        """Return how the BGP sessions with customers' routers are, by the names of their objects; none if there are none.

        To be asked each second: this also tells a daemon that hangs.
        """
        ...

    def learned(self, table: int) -> tuple[LearnedRoute, ...]:
        """Return what customers' routers have announced into a routing table of the overlay. Raises KernelError."""
        ...

    @property
    def public_key(self) -> str:
        """Return the key with which secrets are sealed for this host, base64; nothing: it can open none."""
        ...

    def left_alone(self, ifname: str) -> str:
        """Return what was in an instance's namespace when its port was plugged, and was left alone, or nothing."""
        ...

    def close(self) -> None:
        """Let go of sockets; everything in the kernel stays."""
        ...
