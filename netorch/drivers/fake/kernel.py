"""A kernel in memory: keeps what Linux keeps, refuses what Linux refuses, loses what Linux loses. For tests and dry runs.

It is held to the same contract as the real one by tests/contract/test_kernel.py.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import islice

import msgspec

from netorch.drivers.base import Gone, KernelEvent, Lost, Seen, TableUse, Underlay
from netorch.drivers.fake.nft import NFT, check_birth, check_death, is_in_table
from netorch.errors import KernelError
from netorch.state.aftermath import aftermath
from netorch.state.base import OVERLAY, KernelObject, Key, link_key, up_key
from netorch.state.flow import Flow, FlowKey, uncounted
from netorch.state.l2 import Fdb
from netorch.state.l3 import Address, Neighbour, Route
from netorch.state.link import (
    LOOPBACK,
    AdminUp,
    Gro,
    IncompleteLink,
    Link,
    Settings,
    Sysctl,
    TapPort,
    VethPort,
    Vrf,
    Vxlan,
)
from netorch.state.nft import VPC_TABLE, NftElement, NftTable, PortChain, freed_zone
from netorch.state.op import Create, Delete, Failure, Op, Replace, describe

_DEFAULT_UNDERLAY = Underlay(ifname="eth0", mtu=1550)


class FakeKernel:
    """Implements `netorch.drivers.base.Kernel`. What it holds outlives the agents that use it."""

    def __init__(self, objects: Iterable[KernelObject] = (), *, underlays: Mapping[str, Underlay] | None = None) -> None:
        """Start with `objects` there already. Without `underlays` any VTEP address is on an eth0 of 1550 bytes."""
        self.objects: dict[Key, KernelObject] = {obj.key: obj for obj in objects}
        self.foreign: dict[Key, KernelObject] = {}  # somebody else's: in no dump, but in the way
        self.namespaces: set[str] = set()  # those that instances bring along
        self.applied: list[Op] = []  # every operation that was carried out
        self.packets: dict[str, int] = {}  # what `counters` returns
        self.tracked: dict[FlowKey, Flow] = {}  # the connections, of all zones
        self.most_tracked = 1 << 18
        self.refused: frozenset[int] = frozenset()  # zones; a test lets their time pass
        self.kept: dict[str, str] = {}  # what `left_alone` returns
        self.underlays = underlays
        self.everywhere = _DEFAULT_UNDERLAY  # where any VTEP address is without `underlays`
        self.identity = f"fake {id(self):x}"
        self._failures: dict[str, list[int]] = {}
        self._events: list[KernelEvent] = []
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def dump(self) -> dict[Key, KernelObject]:
        """Return every object that is ours."""
        self._forget_events()
        return dict(self.objects)

    def dump_nft(self) -> dict[Key, KernelObject]:
        """Return our tables and their elements only."""
        return {key: obj for key, obj in self.objects.items() if isinstance(obj, NFT)}

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order and return the refused ones."""
        failures = []
        for op in ops:
            try:
                self._refuse_as_told(op)
                self._carry_out(op)
            except OSError as error:
                failures.append(Failure(op, KernelError(describe(op), error.errno or 0, error.strerror or "")))
            else:
                self.applied.append(op)
        return failures

    def underlay(self, vtep: str) -> Underlay | None:
        """Return the device that holds the VTEP address, or None."""
        return self.everywhere if self.underlays is None else self.underlays.get(vtep)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` has something."""
        return self._ready

    def events(self) -> list[KernelEvent]:
        """Return what `disturb` and `tell` have brought since the last call."""
        events = self._events
        self._forget_events()
        return events

    def counters(self) -> dict[str, int]:
        """Return `packets`."""
        return dict(self.packets)

    def flows(self, zone: int, addresses: Collection[str] | None = None) -> tuple[Flow, ...]:
        """Return the connections of a zone, or those of some addresses in it."""
        found = (flow for flow in self.tracked.values() if flow.zone == zone)
        return tuple(flow for flow in found if addresses is None or not {flow.source, flow.destination}.isdisjoint(addresses))

    def forget_flows(self, flows: Iterable[Flow]) -> None:
        """Forget connections."""
        for flow in flows:
            self.tracked.pop(flow.key, None)

    def restore_flows(self, flows: Iterable[Flow]) -> None:
        """Know connections that began elsewhere, with nothing counted yet; of known ones, which ends track them."""
        for flow in flows:
            known = self.tracked.setdefault(flow.key, uncounted(flow))
            self.tracked[flow.key] = msgspec.structs.replace(known, mark=known.mark | flow.mark)

    def left_alone(self, ifname: str) -> str:
        """Return what a test has put into `kept`."""
        return self.kept.get(ifname, "")

    def table_use(self) -> TableUse:
        """Return how many connections there are."""
        return TableUse(held=len(self.tracked), most=self.most_tracked)

    def sample_zones(self, size: int) -> dict[int, int]:
        """Return how many of the first connections each zone has."""
        return Counter(flow.zone for flow in islice(self.tracked.values(), size))

    def refused_zones(self) -> frozenset[int]:
        """Return `refused`."""
        return self.refused

    def refuse_zones(self, zones: Set[int]) -> None:
        """Set `refused`, where there is a table for it."""
        if VPC_TABLE not in self.objects:
            raise KernelError("change elements", errno.ENOENT)
        self.refused = frozenset(zones)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._ready)

    def fail_next(self, kind: str, number: int, times: int = 1) -> None:
        """Refuse the next operations on objects whose key starts with `kind`, e.g. "route", with this errno."""
        self._failures.setdefault(kind, []).extend([number] * times)

    def disturb(self, op: Op) -> None:
        """Carry out an operation as another program would, so that it becomes an event. Raises OSError as the kernel would.

        Of a device that falls or goes Linux does not tell what it takes along, so that everything must be dumped again.
        """
        before = self.objects.get(op.obj.key)
        self._carry_out(op)
        after = self.objects.get(op.obj.key)
        if isinstance(op.obj, NFT):
            self.tell(Lost("nft"))
        elif after is None and isinstance(op.obj, Link | AdminUp):
            self.tell(Lost("all"))
        elif after is None:
            self.tell(Gone(op.obj.key, op.obj.vni))
        elif after != before:
            self.tell(Seen(after))

    def take_over(self, port: VethPort) -> None:
        """Let another host move the port into its own namespace, as the end of a move does: the device goes, expected by all."""
        self._lose(port.key)
        self.tell(Gone(port.key, port.vni))
        self.tell(Gone(up_key(port.ifname), port.vni))

    def tell(self, event: KernelEvent) -> None:
        """Let `events` return this, e.g. `Lost("all")` when notifications were lost."""
        self._events.append(event)
        os.eventfd_write(self._ready, 1)

    def _forget_events(self) -> None:
        self._events = []
        try:
            os.eventfd_read(self._ready)
        except BlockingIOError:
            return

    def _refuse_as_told(self, op: Op) -> None:
        numbers = self._failures.get(str(op.obj.key[0]))
        if numbers:
            raise _refusal(numbers.pop(0))

    def _carry_out(self, op: Op) -> None:
        if isinstance(op, Delete):
            check_death(op.obj, self.objects)
            self._lose(op.obj.key)
            self.forget_flows([flow for flow in self.tracked.values() if flow.zone == freed_zone(op.obj)])
            return
        obj = op.obj
        if obj.key in self.foreign:
            raise _refusal(errno.EEXIST, "somebody else's stands there")
        self._check(obj)
        found = self.objects.get(obj.key)
        if isinstance(op, Create) and isinstance(obj, Link) and found is not None:
            if obj.matches(found):
                return
            raise _refusal(errno.EEXIST)
        if isinstance(op, Create) and isinstance(obj, NftElement) and found not in (None, obj):
            raise _refusal(errno.EEXIST, "it maps to something else")
        if isinstance(op, Replace) and isinstance(obj, Link) and (found is None or not obj.replaces(found)):
            raise _refusal(errno.ENODEV if found is None else errno.EOPNOTSUPP)
        self.objects[obj.key] = obj
        if found is not None and found.parent != obj.parent:
            self._suffer(aftermath(self.objects, (), [obj.key]))

    def _check(self, obj: KernelObject) -> None:
        """Raise OSError when Linux would not take the object as things stand."""
        match obj:
            case IncompleteLink():
                raise _refusal(errno.EINVAL, "nobody asks for half a device")
            case Vxlan() | VethPort() | TapPort():
                self._check_device(obj)
            case AdminUp() | Gro() | Settings() | Address() | Neighbour() | Fdb() if obj.ifname != LOOPBACK:
                self._need_device(obj.ifname)
            case Sysctl() if obj.ifname:
                self._need_device(obj.ifname, errno.ENOENT)
            case Route() if obj.ifname:
                self._need_device(obj.ifname)
                if up_key(obj.ifname) not in self.objects:
                    raise _refusal(errno.ENETDOWN)
            case PortChain():
                self._need_device(obj.ifname, errno.ENOENT)
                if ("nft-table", OVERLAY, "netdev") not in self.objects:
                    raise _refusal(errno.ENOENT)
            case _:
                check_birth(obj, self.objects)

    def _check_device(self, link: Vxlan | VethPort | TapPort) -> None:
        if not isinstance(self.objects.get(link_key(link.vrf)), Vrf):
            raise _refusal(errno.ENODEV, f"there is no VRF {link.vrf}")
        if isinstance(link, VethPort) and not link.make_netns and link.instance_netns not in self.namespaces:
            raise _refusal(errno.ENOENT, f"there is no namespace {link.instance_netns}")
        if isinstance(link, Vxlan):
            for other in (*self.objects.values(), *self.foreign.values()):
                if isinstance(other, Vxlan) and other.vni == link.vni and other.ifname != link.ifname:
                    raise _refusal(errno.EEXIST, f"{other.ifname} has the VNI {link.vni}")

    def _need_device(self, ifname: str, number: int = errno.ENODEV) -> None:
        if link_key(ifname) not in self.objects and link_key(ifname) not in self.foreign:
            raise _refusal(number)

    def _lose(self, key: Key) -> None:
        """Remove an object with what goes with it."""
        obj = self.objects.get(key)
        if obj is None:
            return
        self._suffer(aftermath(self.objects, [obj]))
        del self.objects[key]
        if isinstance(obj, NftTable):
            self._suffer({key: None for key, other in self.objects.items() if is_in_table(other, obj)})

    def _suffer(self, left: Mapping[Key, KernelObject | None]) -> None:
        for key, rest in left.items():
            if rest is None:
                del self.objects[key]
            else:
                self.objects[key] = rest


def _refusal(number: int, detail: str = "") -> OSError:
    return OSError(number, detail)
