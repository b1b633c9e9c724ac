"""An in-memory kernel that keeps, refuses and loses the same objects as Linux. For tests and dry runs.

It is a list of drivers like the real one, and passes the same contract tests (tests/contract/kernel). This file depends on no
kind of object: only the fakes of drivers do.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from netorch.drivers.base import (
    Answer,
    ConnectionTracker,
    Count,
    CustomerSession,
    Gone,
    KernelEvent,
    LearnedChanged,
    LearnedRoute,
    Seen,
    TunnelsChanged,
    Underlay,
    Watcher,
)
from netorch.drivers.bird.customers import Customers
from netorch.drivers.composition import Composition
from netorch.drivers.fake.bird import FakeBird
from netorch.drivers.fake.echoes import FakeEchoes
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.fake.knocks import FakeKnocks
from netorch.drivers.fake.namespaces import FakeNamespaces
from netorch.drivers.fake.nft import FakeNft
from netorch.drivers.fake.rtnl import FakeRtnl, FakeSysctls
from netorch.drivers.fake.services import FakeServices
from netorch.drivers.fake.tc import FakeTc
from netorch.drivers.fake.tracker import FakeTracker
from netorch.errors import KernelError
from netorch.model.status import ESTABLISHED, BorderSession, TunnelStatus
from netorch.state.base import OUTSIDE, OVERLAY, UNDERLAY, KernelObject, Key, link_key, up_key
from netorch.state.daemons.bgp import BgpPeer, CustomerPeer
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Delete, Failure, Op

_DEFAULT_UNDERLAY: Final = Underlay(ifname="eth0", mtu=1550)

MakeDriver = Callable[[FakeHost], FakeDriver]


class FakeKernel(Composition):
    """Implements `netorch.drivers.base.Kernel`. Its objects outlive the agents that use it."""

    def __init__(
        self,
        objects: Iterable[KernelObject] = (),
        *,
        underlays: Mapping[str, Underlay] | None = None,
        more: Sequence[MakeDriver] = (),
    ) -> None:
        """Start with existing `objects`, and with `more` drivers.

        Without `underlays`, every VTEP address is on an eth0 with an MTU of 1550 bytes.
        """
        self.host = host = FakeHost(objects)
        self.tracker = tracker = FakeTracker(host)
        self.silent: set[str] = set()  # VTEPs that do not answer echoes
        self.muted: set[tuple[str, int]] = set()  # addresses and ports of targets that do not answer
        self.unready: set[str] = set()  # VTEPs that answer echoes, but as not ready
        self.other: Callable[[str], FakeKernel | None] = lambda vtep: None  # the host at a VTEP; None: an active host
        self.isolated = False  # no echoes arrive at this host
        self.unplugged: set[str] = set()  # uplinks without carrier
        self.probed: list[str] = []  # VTEPs that echoes were sent to
        self.customer_states: dict[str, CustomerSession] = {}  # by session name
        self.learned_routes: dict[int, tuple[LearnedRoute, ...]] = {}  # by routing table
        self.public_key = ""
        self.packets: dict[str, int] = {}  # what `counters` returns
        self.gateway_counts: dict[str, dict[str, Count]] = {}  # what `gateway_counters` returns, by label
        self.filtered: dict[str, dict[Key, Count]] = {}  # what `filter_counts` returns, by device
        self.served: dict[str, dict[str, int]] = {}  # what `service_counts` returns, by id
        self.kept: dict[str, str] = {}  # what `left_alone` returns
        self.session_states: dict[str, str] = {}  # by the router's address, unless established
        self.tunnel_states: dict[str, TunnelStatus] = {}  # by IKE connection name; changed by `set_tunnel`
        self.underlays = underlays
        self.everywhere = _DEFAULT_UNDERLAY  # the device of all VTEP addresses without `underlays`
        self.identity = f"fake {id(self):x}"
        self._bell = Bell()
        fakes: tuple[FakeDriver, ...] = (
            FakeRtnl(host, OVERLAY),
            FakeSysctls(host, OVERLAY),
            FakeTc(host, OVERLAY),
            FakeBird(host, OVERLAY, Customers),
            FakeServices(host, UNDERLAY),
            *(FakeNft(host, netns, lambda zone: tracker.forget(tracker.flows(zone))) for netns in (UNDERLAY, OVERLAY)),
            *(make(host) for make in more),
        )
        super().__init__((self._bell, *fakes))
        self._trackers = {OVERLAY: tracker}
        self.join(FakeNamespaces(host, self._trackers, self.join, self.leave))

    @property
    def trackers(self) -> Mapping[str, ConnectionTracker]:
        """Return connection trackers by namespace."""
        return self._trackers

    @property
    def objects(self) -> dict[Key, KernelObject]:
        """Return all objects of netorch."""
        return self.host.objects

    @property
    def foreign(self) -> dict[Key, KernelObject]:
        """Return others' objects, which are in no dump, but block their keys."""
        return self.host.foreign

    @property
    def namespaces(self) -> set[str]:
        """Return the namespaces that instances bring with them."""
        return self.host.namespaces

    @property
    def devices(self) -> set[str]:
        """Return the underlay's own devices, which may become uplinks."""
        return self.host.devices

    @property
    def applied(self) -> list[Op]:
        """Return every applied operation."""
        return self.host.applied

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None."""
        return self.everywhere if self.underlays is None else self.underlays.get(vtep)

    def has_carrier(self, ifname: str) -> bool:
        """Return whether an uplink exists, is up, and is not in `unplugged`."""
        wanted = {link_key(ifname, OUTSIDE), up_key(ifname, OUTSIDE)}
        return wanted <= self.objects.keys() and ifname not in self.unplugged

    def knocks(self) -> FakeKnocks:
        """Return probes that all targets answer except those in `muted`."""
        return FakeKnocks(self.muted)

    def echoes(self, source: str) -> FakeEchoes:
        """Return echoes that all VTEPs answer except those in `silent`. Raises KernelError if no device has the address."""
        if self.underlay(source) is None:
            raise KernelError(f"send echoes from {source}", errno.EADDRNOTAVAIL)
        return FakeEchoes(self._answer_of, self.probed, lambda: not self.isolated)

    def _answer_of(self, vtep: str) -> Answer | None:
        if vtep in self.silent:
            return None
        if vtep in self.unready:
            return Answer.NOT_READY
        other = self.other(vtep)
        if other is None:
            return Answer.ACTIVE
        held = other.objects.values()
        if not any(obj.says_ready for obj in held):
            return Answer.NOT_READY
        return Answer.ACTIVE if any(obj.says_active for obj in held) else Answer.STANDBY

    def counters(self) -> dict[str, int]:
        """Return `packets`."""
        return dict(self.packets)

    def filter_counts(self, ifname: str) -> dict[Key, Count]:
        """Return a device's `filtered`."""
        return dict(self.filtered.get(ifname, {}))

    def gateway_counters(self, netns: str) -> dict[str, Count]:
        """Return a namespace's `gateway_counts`."""
        return dict(self.gateway_counts.get(netns, {}))

    def service_counts(self) -> dict[str, dict[str, int]]:
        """Return `served`."""
        return {id: dict(counts) for id, counts in self.served.items()}

    def border_sessions(self) -> tuple[BorderSession, ...]:
        """Return the existing sessions, with their states in `session_states`, or established."""
        peers = [obj for obj in self.objects.values() if isinstance(obj, BgpPeer)]
        states = self.session_states
        return tuple(
            BorderSession(router=peer.remote, asn=peer.remote_asn, state=states.get(peer.remote, ESTABLISHED)) for peer in peers
        )

    def tunnels(self) -> dict[str, TunnelStatus]:
        """Return the existing tunnels, with their states in `tunnel_states`, or down."""
        names = [obj.name for obj in self.objects.values() if isinstance(obj, IkeConnection)]
        return {name: self.tunnel_states.get(name, TunnelStatus()) for name in names}

    def set_tunnel(self, name: str, status: TunnelStatus) -> None:
        """Set a tunnel's state, and create an event."""
        self.tunnel_states[name] = status
        self.tell(TunnelsChanged())

    def customer_sessions(self) -> dict[str, CustomerSession]:
        """Return the existing sessions, with their states in `customer_states`, or established."""
        names = [obj.name for obj in self.objects.values() if isinstance(obj, CustomerPeer)]
        return {name: self.customer_states.get(name, CustomerSession(state=ESTABLISHED)) for name in names}

    def learned(self, table: int) -> tuple[LearnedRoute, ...]:
        """Return a routing table's `learned_routes`."""
        return self.learned_routes.get(table, ())

    def learn(self, table: int, *routes: LearnedRoute) -> None:
        """Set a routing table's learned routes, and create an event."""
        self.learned_routes[table] = tuple(sorted(routes, key=lambda route: route.prefix))
        self.tell(LearnedChanged(table))

    def left_alone(self, ifname: str) -> str:
        """Return `kept` of a port."""
        return self.kept.get(ifname, "")

    def fail_next(self, kind: str, number: int, times: int = 1) -> None:
        """Make the next operations on objects of a kind, e.g. "route", fail with this errno."""
        self.host.failures.setdefault(kind, []).extend([number] * times)

    def disturb(self, op: Op) -> None:
        """Apply an operation like another program, so that it causes events. Raises OSError as the kernel would."""
        obj = op.obj
        driver = self._driver_for(op)
        assert isinstance(driver, FakeDriver)
        before = self.objects.get(obj.key)
        driver.carry_out(op)
        for event in driver.notifications(before, self.objects.get(obj.key)):
            self.tell(event)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations; events about objects on deleted devices are dropped."""
        failures = super().apply(ops)
        failed = {failure.op.obj.key for failure in failures}
        self._bell.forget_on({op.obj.key for op in ops if isinstance(op, Delete)} - failed)
        return failures

    def take_over(self, port: KernelObject) -> None:
        """Simulate another host moving a port into its own namespace: the device disappears, as expected."""
        ups = [obj for obj in self.objects.values() if obj.is_up_state and obj.parent == port.key]
        self.host.lose(port.key)
        for obj in (port, *ups):
            self.tell(Gone(obj.key, obj.vni))

    def tell(self, event: KernelEvent) -> None:
        """Make `events` return this event, e.g. `Lost()` for lost notifications."""
        self._bell.ring(event)


class Bell(Watcher):
    """The driver of a test's own events: it has no objects, and a dump discards events that it makes obsolete."""

    netns: Final = OVERLAY

    def __init__(self) -> None:
        self._events: list[KernelEvent] = []
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._end = weakref.finalize(self, os.close, self._ready)  # few tests end their agents

    def ring(self, event: KernelEvent) -> None:
        """Queue an event."""
        self._events.append(event)
        os.eventfd_write(self._ready, 1)

    def forget_on(self, gone: Collection[Key]) -> None:
        """Drop events of objects whose parents are gone."""
        self._events = [event for event in self._events if not (isinstance(event, Seen) and event.obj.parent in gone)]

    def dump(self) -> dict[Key, KernelObject]:
        """Drop events that a dump makes obsolete, and return nothing."""
        for event in self.events():
            if isinstance(event, LearnedChanged):
                self.ring(event)
        return {}

    def events(self) -> list[KernelEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        with suppress(BlockingIOError):
            os.eventfd_read(self._ready)
        return events

    def fileno(self) -> int:
        """Return a descriptor that is readable while events are queued."""
        return self._ready

    def close(self) -> None:
        """Close the descriptor."""
        self._end()
