"""In-memory namespaces that are created and deleted."""

from __future__ import annotations

from collections.abc import Callable

from netorch.drivers.base import Driver, Gone, KernelEvent
from netorch.drivers.bird.border import Border
from netorch.drivers.fake.bird import FakeBird
from netorch.drivers.fake.charon import FakeCharon
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.fake.nft import FakeNft
from netorch.drivers.fake.rtnl import FakeRtnl, FakeSysctls
from netorch.drivers.fake.services import FakeServices
from netorch.drivers.fake.tc import FakeTc
from netorch.drivers.fake.tracker import FakeTracker
from netorch.drivers.namespaces import Namespaces
from netorch.state.base import HOST_SLICE, OUTSIDE, UNDERLAY
from netorch.state.link import Uplink
from netorch.state.names import vni_of_netns
from netorch.state.netns import Namespace
from netorch.state.op import Delete, Op


class FakeNamespaces(FakeDriver):
    """The fake of `netorch.drivers.namespaces`."""

    def __init__(
        self,
        host: FakeHost,
        trackers: dict[str, FakeTracker],
        join: Callable[[Driver], None],
        leave: Callable[[Driver], None],
    ) -> None:
        super().__init__(host, UNDERLAY, Namespaces.kinds)
        self._trackers = trackers
        self._join = join
        self._leave = leave
        self._drivers: dict[str, list[FakeDriver]] = {}
        self._events: list[KernelEvent] = []
        for obj in tuple(host.objects.values()):
            if isinstance(obj, Namespace):
                self._open(obj.label)

    def carry_out(self, op: Op) -> None:
        """Create or delete a namespace; its drivers join and leave with it."""
        namespace = op.obj
        assert isinstance(namespace, Namespace)
        if not isinstance(op, Delete):
            super().carry_out(op)
            self._open(namespace.label)
        elif namespace.label in self._drivers:
            self._close(namespace)
            super().carry_out(op)

    def events(self) -> list[KernelEvent]:
        """Return the objects of other VPCs that went with a deleted namespace."""
        events, self._events = self._events, []
        return events

    def _open(self, label: str) -> None:
        if label in self._drivers:
            return
        host = self.host
        drivers: list[FakeDriver] = [FakeSysctls(host, label), FakeRtnl(host, label), FakeTc(host, label)]
        drivers.append(FakeNft(host, label, lambda _: None))
        if label == OUTSIDE:
            drivers += [FakeBird(host, label, Border), FakeCharon(host, label), FakeServices(host, label)]
        self._drivers[label] = drivers
        if vni_of_netns(label) != HOST_SLICE:
            self._trackers[label] = FakeTracker(host, label)
        for driver in drivers:
            self._join(driver)

    def _close(self, namespace: Namespace) -> None:
        inside = [obj for obj in self.host.objects.values() if obj.netns == namespace.label]
        self.host.devices |= {obj.ifname for obj in inside if isinstance(obj, Uplink)}
        self._events += [Gone(obj.key, obj.vni) for obj in inside if obj.vni != namespace.vni]
        self._trackers.pop(namespace.label, None)
        for driver in self._drivers.pop(namespace.label):
            self._leave(driver)
