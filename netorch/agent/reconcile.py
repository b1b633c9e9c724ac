"""Records -> slices -> operations -> kernel. The only caller of the kernel's `apply`.

A VPC that cannot be compiled, or whose operations the kernel refuses, is a problem of its own: it keeps what it has,
its problem is reported, and it is retried; the others go on. When the host's own part (the tables that verify and drop)
cannot be applied, nothing else is: fail closed. What the border router hears is applied with the VPCs, as the last of it: it
invites packets. If that fails, only that is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence, Set

import msgspec

from netorch.agent.compilation import Compilation
from netorch.agent.indexes.dirty import Dirty
from netorch.agent.moves import Moves
from netorch.agent.numbers import Numbers
from netorch.agent.problems import VIEW, Problems, by_slice
from netorch.agent.records import Records
from netorch.agent.slices import Objects, Slice
from netorch.compiler.base import Compiler, HostView, Middlebox, Phase, VpcView
from netorch.drivers.base import Gone, Kernel, KernelEvent, Lost, Seen, Underlay, UnderlayChanged
from netorch.errors import KernelError
from netorch.model.vpc import RouteTable
from netorch.plan.diff import diff
from netorch.plan.explain import op_text
from netorch.state.base import BORDER_SLICE, HOST_SLICE, PORTS, KernelObject, Key, link_key, up_key
from netorch.state.daemons.bgp import Announcement
from netorch.state.names import inlet_name
from netorch.state.op import Delete, Failure, Op

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 2.0  # after the kernel could not say which device holds the underlay address, or none did


class Reconciler:
    """Holds the slices of this host and keeps the kernel equal to them."""

    def __init__(self, records: Records, moves: Moves, kernel: Kernel, compilers: Sequence[Compiler]) -> None:
        self.slices: dict[int, Slice] = {}
        self._handed_out: set[int] = set()  # slices that may have become dirty since they were compared
        self.writes = 0
        self.repaired = 0
        self.host_view: HostView | None = None
        self.assumed: Underlay | None = None  # as it was last, for a host that boots and whose network is not up yet
        self.connected = True  # whether its underlay carries packets
        self.ready = False  # whether the host is to say so: a task decides, once everything is applied
        self.announces = False  # whether it is to announce its addresses, likewise
        self.active = False  # likewise
        self._records = records
        self._kernel = kernel
        self._problems = Problems()
        self._refusals: dict[int, dict[Key, str]] = {}  # slice -> what others stand on -> why the kernel refused it last
        self._numbers = Numbers()
        self._compilation = Compilation(records, moves, self._numbers, compilers, self._slice, self._problems)
        self._look_again_at: float | None = None

    @property
    def problems(self) -> dict[int, str]:
        """Return why slices are not as they should be."""
        return self._problems.texts

    def in_force(self, vni: int) -> bool:
        """Return whether a VPC's records are in force here, but for what its problem says is left out."""
        return self._problems.in_force(vni)

    def view(self, vni: int) -> VpcView | None:
        """Return what compilers saw of a VPC last, or None."""
        return self._compilation.view(vni)

    @property
    def phases(self) -> Mapping[int, Mapping[str, Phase]]:
        """Return how far the interfaces of each VPC have come on this host."""
        return self._compilation.phases

    # --- what the kernel holds -----------------------------------------------------------------------------------------------

    def read_kernel(self) -> int:
        """Take in everything that the kernel holds now; return how many objects differ from what was known.

        Cost: O(objects of this host); at the start, after lost notifications, and as a periodic audit.
        """
        is_first = not self.slices
        differing = self._adopt(self._kernel.dump(), lambda key: True)
        if is_first:
            held = self._slice(HOST_SLICE).actual.values()
            self.ready, self.active = any(obj.says_ready for obj in held), any(obj.says_active for obj in held)
            self.announces = any(isinstance(obj, Announcement) for obj in self._slice(BORDER_SLICE).actual.values())
        self._note_lost_word()
        return differing

    def _note_lost_word(self) -> None:
        """Say no more that the host is ready when the kernel has lost that: what else it has lost comes first."""
        host = self._slice(HOST_SLICE)
        if any(host.desired[key].says_ready and key not in host.actual for key in host.touched & host.desired.keys()):
            self.ready = self.announces = False

    def on_kernel(self, events: Sequence[KernelEvent]) -> None:
        """Note what changed behind our back. Raises KernelError when the kernel cannot be read; read it all then."""
        self._records.dirty.host |= any(isinstance(event, UnderlayChanged) for event in events)
        if any(isinstance(event, Lost) and event.kinds is None for event in events):
            self.read_kernel()  # newer than all the other events, which must not be applied to it
            return
        lost: set[str] = set()
        for event in events:
            match event:
                case Seen(obj):
                    self.repaired += _is_damage(self._slice(obj.vni), obj.key, obj)
                    self._slice(obj.vni).seen(obj)
                case Gone(key, vni):
                    self.repaired += _is_damage(self._slice(vni), key, None)
                    self._slice(vni).gone(key)
                case Lost(kinds) if kinds is not None:
                    lost |= kinds
                case _:
                    pass
        if lost:
            self._adopt(self._kernel.dump(frozenset(lost)), lambda key: key[0] in lost)
        self._note_lost_word()

    def _adopt(self, dumped: Objects, covers: Callable[[Key], bool]) -> int:
        by_slice: dict[int, Objects] = {}
        for key, obj in dumped.items():
            by_slice.setdefault(obj.vni, {})[key] = obj
            self._numbers.learn(obj)
        differing = 0
        for slice_id in self.slices.keys() | by_slice.keys():
            found = by_slice.get(slice_id, {})
            if slice_id not in self.slices:
                self._slice(slice_id).found(found)
                differing += len(found)
                continue
            target = self._slice(slice_id)
            for key in [key for key in target.actual if key not in found and covers(key)]:
                self.repaired += _is_damage(target, key, None)
                del target.actual[key]
                target.touch(key)
                differing += 1
            for key, obj in found.items():
                known = target.actual.get(key)
                if known is None or not known.matches(obj):
                    self.repaired += _is_damage(target, key, obj)
                    target.actual[key] = obj
                    target.touch(key)
                    differing += 1
        return differing

    def _slice(self, slice_id: int) -> Slice:
        """Return a slice to be changed; the only way to one."""
        self._handed_out.add(slice_id)
        found = self.slices.get(slice_id)
        if found is None:
            found = self.slices[slice_id] = Slice()
        return found

    # --- what it should hold -------------------------------------------------------------------------------------------------

    def compile(self, dirty: Dirty, now: float) -> None:
        """Compile what the dirty records ask for; edits memory only, but for a look at the underlay device."""
        if dirty.host or (self._look_again_at is not None and now >= self._look_again_at):
            self._look_at_host(now)
        if self.host_view is not None:
            said = {"ready": self.ready, "announces": self.announces, "active": self.active}
            self.host_view = msgspec.structs.replace(self.host_view, **said)
        self._compilation.turn(dirty, self.host_view, now)

    def _look_at_host(self, now: float) -> None:
        """Make the host's own view. While that cannot be done nothing is applied, and VPCs are compiled as for the last one."""
        self._look_again_at, self.connected = None, False
        host, problem = self._records.host, self._records.host_problem
        if not problem and host is None:
            problem = f"host {self._records.host_name} is not in the store; create it: netorch host create"
        elif not problem and host is not None:
            try:
                underlay = self._kernel.underlay(host.underlay) or self.assumed
            except KernelError as error:
                problem, self._look_again_at = str(error), now + LOOK_AGAIN_S
            else:
                if underlay is None:  # asked again too: a route that makes a way for an address on the loopback is no event
                    problem = f"no device holds the underlay address {host.underlay}; waiting for it"
                    self._look_again_at = now + LOOK_AGAIN_S
                else:
                    pools = tuple(pool for _, pool in sorted(self._records.pools.items()) if pool.pair == host.pair)
                    self.connected = underlay.carries
                    self.host_view = HostView(
                        host=host,
                        underlay_ifname=underlay.ifname,
                        underlay_mtu=underlay.mtu,
                        pools=pools,
                        services=self._records.services.known(),
                        buckets=self._records.services.buckets(),
                        drained=self._records.drained,
                    )
        self._problems.compiled(HOST_SLICE, VIEW, problem)

    # --- from one to the other -----------------------------------------------------------------------------------------------

    def apply(self, now: float, may_delete: bool) -> set[int]:
        """Carry out every difference; return the slices that were dirty. Without `may_delete` nothing is taken away.

        Cost: O(what is dirty), whatever else the host holds.
        """
        if self.host_view is None:
            return set()
        applied = self._apply_host(now, may_delete)
        return applied if self.host_trouble else applied | self._apply_vpcs(now, may_delete)

    def _apply_host(self, now: float, may_delete: bool) -> set[int]:
        host = self._slice(HOST_SLICE)
        if not host.dirty:
            return set()
        whole = {HOST_SLICE} if host.all_touched else set()
        self._run(*host.difference(), host.keep, whole, now, may_delete)
        return {HOST_SLICE}

    def _apply_vpcs(self, now: float, may_delete: bool) -> set[int]:
        applied: set[int] = set()
        desired: Objects = {}
        actual: Objects = {}
        keep: set[Key] = set()
        whole: set[int] = set()
        handed_out, self._handed_out = self._handed_out, set()
        for slice_id in sorted(handed_out & self.slices.keys()):
            target = self.slices[slice_id]
            if not target.dirty:
                if target.empty:
                    del self.slices[slice_id]
                continue
            if not self._may_touch(slice_id):
                self._handed_out.add(slice_id)
                actual.update((key, target.actual[key]) for key in target.withdrawn & target.actual.keys())
                continue
            if target.all_touched:
                whole.add(slice_id)
            wanted, found = target.difference()
            desired.update(wanted)
            actual.update(found)
            keep |= target.keep
            applied.add(slice_id)
        self._run(desired, actual, keep, whole, now, may_delete)
        for slice_id in applied - {HOST_SLICE}:
            freed = self._numbers.settle(slice_id, self.slices[slice_id].holds)  # not before the kernel has let go of them
            if self.slices[slice_id].empty:
                del self.slices[slice_id]
            elif freed:
                for kind in (Middlebox, RouteTable):  # what found no number may have it now
                    self._records.dirty.mark(slice_id, kind)
        return applied

    def pending(self) -> list[Op]:
        """Return what `apply` would do if it could touch everything; changes nothing."""
        desired: Objects = {}
        actual: Objects = {}
        keep: set[Key] = set()
        for target in self.slices.values():
            desired.update(target.desired)
            actual.update(target.actual)
            keep |= target.keep
        return diff(desired, actual, keep)

    def _may_touch(self, slice_id: int) -> bool:
        """Return whether it is known what the slice is to hold: it was compiled once, or is known to be nothing."""
        return self._compilation.knows(slice_id) and not self.slices[slice_id].dispute()

    def _run(
        self, desired: Objects, actual: Objects, keep: Collection[Key], whole: Set[int], now: float, may_delete: bool
    ) -> None:
        """Carry out a difference. Slices of which something is refused are tried again later, as a whole.

        `whole` names the slices of which everything was compared: only that ends a refusal, because a part of a slice says
        nothing about the part that was refused.
        """
        ops = diff(desired, actual, keep)
        ops = [op for op in ops if self._may_run(op, desired, may_delete)]
        try:
            failures = self._kernel.apply(ops) if ops else []
        except KernelError as error:
            failures = [
                Failure(op, error) for op in ops
            ]  # nobody knows which were done: the kernel is read before they are retried
        if ops and log.isEnabledFor(logging.DEBUG):
            log.debug("applied:\n  %s", "\n  ".join(op_text(op) for op in ops))
        refused = by_slice(failures)
        failed = {failure.op.obj.key for failure in failures}
        done: dict[int, list[Op]] = {}
        for op in ops:
            if op.obj.key not in failed:
                done.setdefault(op.obj.vni, []).append(op)
        for slice_id, of_slice in done.items():
            for old in self._slice(slice_id).applied(of_slice):
                self._slice(old.vni).gone(old.key)
        self.writes += len(ops) - len(failures)
        for slice_id, found in refused.items():
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            self._problems.refused(slice_id, f"{found[0].error}{more}", now)
            reasons = {failure.op.obj.key: str(failure.error) for failure in found if failure.op.obj.has_children}
            self._refusals[slice_id] = ({} if slice_id in whole else self._refusals.get(slice_id, {})) | reasons
        for slice_id in (whole | ({PORTS} if HOST_SLICE in whole else set())) - refused.keys():
            self._problems.taken(slice_id)
            self._refusals.pop(slice_id, None)

    def _may_run(self, op: Op, desired: Objects, may_delete: bool) -> bool:
        """Return whether an operation may be carried out now; a deletion that may not stays to be looked at."""
        obj = op.obj
        if not isinstance(op, Delete) or obj.key in desired:
            return True  # removed to be made again, e.g. an incomplete device: nothing is taken away
        if obj.says_ready or obj.says_active:
            return True  # that the host is not ready, or not active, is no record's word
        if may_delete and (self._compilation.is_complete(obj.vni) or obj.key in self._slice(obj.vni).withdrawn):
            return True
        self._slice(obj.vni).touch(obj.key)
        return False

    def retry_due(self, now: float) -> bool:
        """Mark the slices whose retry is due; return whether there is one, in which case the kernel is to be read first."""
        due = self._problems.due(now)
        for slice_id in due:
            self._slice(HOST_SLICE if slice_id == PORTS else slice_id).all_touched = True
        return bool(due)

    def next_retry(self) -> float | None:
        """Return when `retry_due` or `compile` may next have something."""
        times = (self._problems.next_retry(), self._look_again_at)
        return min((when for when in times if when is not None), default=None)

    @property
    def host_trouble(self) -> str:
        """Return why the host's own part is not in force, or nothing."""
        return self.problems.get(HOST_SLICE, "")

    def unapplied(self, *, in_sync: bool) -> tuple[int, ...]:
        """Return the VPCs of which this host does not hold yet what it is to hold. Cost: O(VPCs).

        What cannot be compiled is left out, as long as no record is missing: it is the same on all hosts.
        """

        carried = sorted(self._records.carried())
        return tuple(vni for vni in carried if self._problems.is_refused(vni) or not self._is_known(vni, in_sync))

    def _is_known(self, vni: int, in_sync: bool) -> bool:
        """Return whether a VPC has been compiled, or it is known why it cannot be."""
        return self._compilation.knows(vni) or (in_sync and vni in self.problems)

    def port_is_up(self, eni_ifname: str, vni: int) -> bool:
        """Return whether the kernel holds a port, up."""
        target = self.slices.get(vni)
        return target is not None and up_key(eni_ifname) in target.actual

    def refusal_of(self, ifname: str, vni: int) -> str:
        """Return why the kernel refused a device of a VPC, or nothing."""
        return self._refusals.get(vni, {}).get(link_key(ifname), "")

    def zone_of(self, vni: int) -> int:
        """Return the conntrack zone of a VPC on this host. Raises CompileError when all are taken."""
        return self._numbers.zone_of(vni)

    def peers_left_out(self, vni: int) -> frozenset[int]:
        """Return the VNIs of a VPC's peers whose interfaces belong to no group on this host."""
        return self._problems.peers_left_out(vni)

    def inlet_zone(self, vni: int, eni_id: str) -> int | None:
        """Return the conntrack zone of what comes to an interface here by routes to it, None if none leads there."""
        return self._numbers.zones.known(inlet_name(vni, eni_id))

    def zones_of(self, vni: int) -> Collection[int]:
        """Return all conntrack zones of a VPC on this host: its own, and those of its inlets."""
        return self._numbers.zones.of_vpc(vni)

    def vnis(self) -> Mapping[int, int]:
        """Return the VPCs of this host by conntrack zone."""
        return self._numbers.zones.vnis()

    def object_count(self) -> int:
        """Return how many kernel objects are ours."""
        return sum(len(target.actual) for target in self.slices.values()) - len(self.foreign())

    def foreign(self) -> tuple[str, ...]:
        """Return what is not netorch's in its own namespace. Cost: O(the host's own part)."""
        found = self._slice(HOST_SLICE).actual.values()
        return tuple(sorted(obj.text() for obj in found if not obj.ours))

    def recomputed(self, vni: int) -> dict[Key, KernelObject]:
        """Return a slice compiled from nothing; must equal `slices[vni].desired`. For tests and the audit of audits."""
        return self._compilation.recomputed(vni)


def _is_damage(target: Slice, key: Key, found: KernelObject | None) -> bool:
    """Return whether the kernel held an object as it is wanted, and now holds another or none, though nobody may take it."""
    wanted, known = target.desired.get(key), target.actual.get(key)
    if wanted is None or known is None or not wanted.matches(known) or (found is not None and wanted.matches(found)):
        return False
    return key not in target.keep and wanted.parent not in target.keep  # a port on its way to another host is no damage
