"""Protocols between the agent and a host's kernel, and between the kernel and its drivers.

A driver handles some kinds of objects in one namespace: it dumps them, applies operations, and reports changes made by
others. A kernel is a list of drivers (netorch.drivers.composition). Connections are not declared, so they are not objects:
connection tracking has its own protocol.
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
    """The device that holds the VTEP address: what the compilers must know of the host's own network."""

    ifname: str
    mtu: int
    carries: bool = True  # up and connected to something


class TableUse(msgspec.Struct, frozen=True, kw_only=True):
    """Connections in a namespace's conntrack table, and the table's limit; 0 means no limit."""

    held: int
    most: int


class Answer(Enum):
    """The state that an edge reports when it answers an echo."""

    NOT_READY = "not ready"
    STANDBY = "standby"  # ready, but gateways that keep state use another edge
    ACTIVE = "active"  # ready


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a tc filter or an nftables rule since it was created. Bytes at tc egress include Ethernet headers."""

    packets: int
    bytes: int = 0


class Seen(msgspec.Struct, frozen=True):
    """The kernel now holds this object (new or changed)."""

    obj: KernelObject


class Gone(msgspec.Struct, frozen=True):
    """The kernel no longer holds the object with this key, which belonged to this VPC."""

    key: Key
    vni: int = HOST_SLICE


class Lost(msgspec.Struct, frozen=True):
    """Notifications were lost, or a change is not described by them: dump these kinds again; None means all kinds."""

    kinds: frozenset[str] | None = None


class UnderlayChanged(msgspec.Struct, frozen=True):
    """The VTEP address, its device's carrier or its MTU changed. Call `underlay` again: no dump shows this."""


class TunnelsChanged(msgspec.Struct, frozen=True):
    """SAs of tunnels came or went, or the reason why a tunnel is down changed. Call `tunnels` again: no dump shows SAs."""


class LearnedChanged(msgspec.Struct, frozen=True):
    """Routes announced by customers' routers changed in this routing table. Call `learned`: no dump shows these routes.

    Not reported for routes that vanish because `apply` takes their device down.
    """

    table: int


KernelEvent = Seen | Gone | Lost | UnderlayChanged | TunnelsChanged | LearnedChanged


class LearnedRoute(msgspec.Struct, frozen=True):
    """A route announced by a customer's router. `metric` is that of the BGP session plus the length of the AS path."""

    prefix: str  # canonical
    metric: int
    ifname: str  # outgoing device


class CustomerSession(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a BGP session: a state of RFC 4271 section 8.2.2, or Down when the daemon does not run."""

    state: str
    reason: str = ""  # why the session is not established, if known
    accepted: int = 0  # prefixes


class Driver(Protocol):
    """A conversation with one kernel protocol or one daemon, in one of the host's namespaces."""

    @property
    def netns(self) -> str:
        """Return the namespace of the driver's objects."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of objects that the driver applies. No two drivers of a namespace share a kind."""
        ...

    def dump(self) -> dict[Key, KernelObject]:
        """Return netorch's objects of these kinds as they are now. Raises KernelError."""
        ...

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply operations on objects of the driver's kinds in order. Return the refused ones; they do not stop the others."""
        ...

    def events(self) -> list[KernelEvent]:
        """Return changes since the last call that `apply` did not make; never blocks. Raises KernelError."""
        ...

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when `events` has something to return, or None."""
        ...

    def close(self) -> None:
        """Close sockets; everything in the kernel stays."""
        ...


class Watcher:
    """Base class of drivers that only watch and own no objects."""

    kinds: Final[frozenset[str]] = frozenset()

    def dump(self) -> dict[Key, KernelObject]:
        """Return nothing."""
        return {}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do nothing."""
        return []


class SharedTable(Protocol):
    """A conntrack table that VPCs share. Each VPC has its own zones in it."""

    def use(self) -> TableUse:
        """Return how full the table is. Raises KernelError."""
        ...

    def sample(self, size: int) -> dict[int, int]:
        """Return the number of connections by zone in a random sample of `size`, or of all if there are fewer."""
        ...

    def refused(self) -> frozenset[int]:
        """Return the zones that cannot open new connections at present."""
        ...

    def refuse(self, zones: Set[int]) -> None:
        """Block new connections in exactly these zones for the next few seconds."""
        ...


class ConnectionTracker(SharedTable, Protocol):
    """Connection tracking of one namespace."""

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the tracked connections of a zone with one of these addresses as an end; None means all connections."""
        ...

    def forget(self, flows: Iterable[Flow]) -> None:
        """Delete connections from the kernel's table; connections that are already gone are ignored."""
        ...

    def restore(self, flows: Iterable[Flow]) -> None:
        """Add connections that began elsewhere to the kernel's table. For those already there, update who tracks them."""
        ...

    def hand_over(self, zones: Set[int]) -> None:
        """Block new connections in exactly these zones for some seconds, independently of `refuse`."""
        ...

    def answered_at(self, addresses: Collection[str]) -> set[str]:
        """Return those of the IPv4 addresses that replies are sent to: the translated addresses of connections."""
        ...


class Knock(NamedTuple):
    """A probe of a target: from an address and device in a namespace, to a TCP port."""

    netns: str  # label
    source: str
    ifname: str
    address: str
    port: int


class Knocks(Protocol):
    """Connection attempts to targets. Each attempt is closed once it is answered."""

    def begin(self, knocks: Iterable[Knock]) -> None:
        """Probe each target once. Unanswered earlier probes are abandoned."""
        ...

    def answered(self) -> set[Knock]:
        """Return the probes answered since the last call; never blocks."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when a target has accepted or refused."""
        ...

    def close(self) -> None:
        """Close all sockets."""
        ...


class Echoes(Protocol):
    """ICMP echoes from an address of this host to other hosts."""

    def send(self, vteps: Iterable[str]) -> None:
        """Send an echo to each VTEP. An echo that cannot be sent, e.g. without a route, simply gets no answer."""
        ...

    def heard(self) -> dict[str, Answer]:
        """Return each host's latest answer since the last call; never blocks."""
        ...

    def asked(self) -> bool:
        """Return whether another host has sent an echo to this host since the last call."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class Kernel(Protocol):
    """One host's kernel: its underlay namespace, its overlay namespace (created if absent), and requested further ones."""

    @property
    def identity(self) -> str:
        """Return the identity of this kernel: equal only for agents that would manage the same namespace."""
        ...

    @property
    def trackers(self) -> Mapping[str, ConnectionTracker]:
        """Return the connection trackers by label of their namespace: the overlay's, and those of present gateways."""
        ...

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        """Return every object of netorch as read from the kernel, or only objects of the given kinds."""
        ...

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations in order. A refusal does not stop the others.

        An empty list means that all operations succeeded.
        """
        ...

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None if there is none."""
        ...

    def has_carrier(self, ifname: str) -> bool:
        """Return whether a device in the outside namespace exists, is up, and is connected to something. Raises KernelError."""
        ...

    def echoes(self, source: str) -> Echoes:
        """Return a socket for echoes in the underlay namespace. Raises KernelError, e.g. if no device has the address."""
        ...

    def knocks(self) -> Knocks:
        """Return an object that probes targets from gateways' namespaces."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something to return."""
        ...

    def events(self) -> list[KernelEvent]:
        """Return changes since the last call that `apply` did not make; never blocks."""
        ...

    def counters(self) -> dict[str, int]:
        """Return the packet counts of netorch's named nft counters, e.g. {"unverified": 3, "spoofed": 0}.

        Two more count what the kernel had no room for: "table_full", packets whose connections did not fit into the conntrack
        table, and "fragments_lost", failed reassemblies of IPv4 packets.
        """
        ...

    def filter_counts(self, ifname: str) -> dict[Key, Count]:
        """Return the counters of each tc filter on a device of the overlay; empty if there are none. Raises KernelError."""
        ...

    def gateway_counters(self, netns: str) -> dict[str, Count]:
        """Return the counters of a gateway's namespace; empty if the namespace does not exist. Raises KernelError.

        In addition to its table's counters: "table_full"; "no_port", packets for which no port was free; and "idle", TCP
        connections that ended for inactivity since this kernel was opened.
        """
        ...

    def service_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counters of netorch's own daemons since they started, by resource id and counter name.

        A gateway endpoint (netorch.services.proxy.journal.counts defines each) has `connections`, `requests`, `denied`,
        `malformed`, `unavailable`, `broken`, `reset`, `received`, `sent`. Zero counters are left out. Raises KernelError.
        """
        ...

    def border_sessions(self) -> tuple[BorderSession, ...]:
        """Return the states of an edge's BGP sessions with the border router; empty if it has none. Raises KernelError."""
        ...

    def tunnels(self) -> Mapping[str, TunnelStatus]:
        """Return the state of each IKE connection of an edge by name, without its BGP state; empty if there are none.

        Call this every second: the call also detects a hanging daemon, and initiates the tunnels that this side must
        initiate. Raises KernelError.
        """
        ...

    def customer_sessions(self) -> Mapping[str, CustomerSession]:
        """Return the states of the BGP sessions with customers' routers, by object name; empty if there are none.

        Call this every second: the call also detects a hanging daemon. Raises KernelError.
        """
        ...

    def learned(self, table: int) -> tuple[LearnedRoute, ...]:
        """Return the routes that customers' routers announced into a routing table of the overlay. Raises KernelError."""
        ...

    @property
    def public_key(self) -> str:
        """Return the base64 public key to which this host's secrets are sealed; empty if the host cannot decrypt any."""
        ...

    def left_alone(self, ifname: str) -> str:
        """Return what was found in an instance's namespace and kept when its port was plugged; empty if nothing."""
        ...

    def close(self) -> None:
        """Close sockets; everything in the kernel stays."""
        ...
