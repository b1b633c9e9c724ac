"""Records -> slices -> operations -> kernel. The only caller of the kernel's `apply`.

A VPC that cannot be compiled, or whose operations the kernel refuses, is a problem of its own: it keeps its objects, the agent
reports the problem and retries, and the other VPCs go on. While the host's own slice (the tables that verify and drop) cannot
be applied, nothing else is applied: fail closed. Announcements to the border router attract packets, so they are applied last,
together with the VPCs. If they fail, only they are retried.
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
from netorch.agent.reloads import reloads
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

LOOK_AGAIN_S = 2.0  # after the kernel could not report the device of the underlay address, or none had it


class Reconciler:
    """Holds the slices of this host and keeps the kernel equal to them."""

    def __init__(self, records: Records, moves: Moves, kernel: Kernel, compilers: Sequence[Compiler]) -> None:
        self.slices: dict[int, Slice] = {}
        self._handed_out: set[int] = set()  # slices that may have become dirty since the last comparison
        self.writes = 0
        self.repaired = 0
        self.host_view: HostView | None = None
        self.assumed: Underlay | None = None  # last known underlay, for a booting host whose network is not up yet
        self.connected = True  # whether the underlay carries packets
        self.ready = False  # whether the host reports ready: decided by a task after everything is applied
        self.announces = False  # whether the host announces its addresses, likewise
        self.active = False  # likewise
        self._records = records
        self._kernel = kernel
        self._problems = Problems()
        self._refusals: dict[int, dict[Key, str]] = {}  # slice -> key of a parent object -> why the kernel last refused it
        self._numbers = Numbers()
        self._compilation = Compilation(records, moves, self._numbers, compilers, self._slice, self._problems)
        self._look_again_at: float | None = None

    @property
    def problems(self) -> dict[int, str]:
        """Return the problems of degraded slices."""
        return self._problems.texts

    def in_force(self, vni: int) -> bool:
        """Return whether a VPC's records are in force on this host, except what its problem lists as left out."""
        return self._compilation.knows(vni) and self._problems.in_force(vni)

    def view(self, vni: int) -> VpcView | None:
        """Return the last view of a VPC that compilers got, or None."""
        return self._compilation.view(vni)

    @property
    def phases(self) -> Mapping[int, Mapping[str, Phase]]:
        """Return the phase of each VPC's interfaces on this host."""
        return self._compilation.phases

    # --- what the kernel holds -----------------------------------------------------------------------------------------------

    def read_kernel(self) -> int:
        """Read everything that the kernel holds; return how many objects differ from the known ones.

        Cost: O(objects of this host). Used at the start, after lost notifications, and as a periodic audit.
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
        """Report the host as not ready when the kernel has lost the ready element: repair other lost objects first."""
        host = self._slice(HOST_SLICE)
        if any(host.desired[key].says_ready and key not in host.actual for key in host.touched & host.desired.keys()):
            self.ready = self.announces = False

    def on_kernel(self, events: Sequence[KernelEvent]) -> None:
        """Note changes made by others. Raises KernelError when the kernel cannot be read; then read everything again."""
        self._records.dirty.host |= any(isinstance(event, UnderlayChanged) for event in events)
        if any(isinstance(event, Lost) and event.kinds is None for event in events):
            self.read_kernel()  # newer than the other events, which must not be applied to the dump
            return
        lost: set[str] = set()
        for event in events:
            match event:
                case Seen(obj):
                    self.repaired += self._slice(obj.vni).is_damage(obj.key, obj)
                    self._slice(obj.vni).seen(obj)
                case Gone(key, vni):
                    self.repaired += self._slice(vni).is_damage(key, None)
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
                self.repaired += target.is_damage(key, None)
                target.missing(key)
                differing += 1
            for key, obj in found.items():
                known = target.actual.get(key)
                if known is None or not known.matches(obj):
                    self.repaired += target.is_damage(key, obj)
                    target.seen(obj)
                    differing += 1
        return differing

    def _slice(self, slice_id: int) -> Slice:
        """Return a slice in order to change it; all changes go through here."""
        self._handed_out.add(slice_id)
        found = self.slices.get(slice_id)
        if found is None:
            found = self.slices[slice_id] = Slice()
        return found

    # --- what the kernel should hold -----------------------------------------------------------------------------------------

    def compile(self, dirty: Dirty, now: float) -> None:
        """Compile what the dirty records affect. Edits memory only, and may query the underlay device."""
        if dirty.host or (self._look_again_at is not None and now >= self._look_again_at):
            self._look_at_host(now)
        if self.host_view is not None:
            said = {"ready": self.ready, "announces": self.announces, "active": self.active}
            self.host_view = msgspec.structs.replace(self.host_view, **said)
        self._compilation.turn(dirty, self.host_view, now)

    def _look_at_host(self, now: float) -> None:
        """Update the host's own view. While this fails nothing is applied, and VPCs are compiled with the last view."""
        self._look_again_at, self.connected = None, False
        host, problem = self._records.host, self._records.host_problem
        if not problem and host is None:
            name = self._records.host_name
            problem = f"host {name} is not in the store; create it: netorch host create {name} --underlay IP"
        elif not problem and host is not None:
            try:
                underlay = self._kernel.underlay(host.underlay) or self.assumed
            except KernelError as error:
                problem, self._look_again_at = str(error), now + LOOK_AGAIN_S
            else:
                if underlay is None:  # query again too: a new route to an address on the loopback device sends no event
                    problem = f"no device has the underlay address {host.underlay}; waiting for one"
                    self._look_again_at = now + LOOK_AGAIN_S
                else:
                    self.connected = underlay.carries
                    self.host_view = HostView(
                        host=host,
                        underlay_ifname=underlay.ifname,
                        underlay_mtu=underlay.mtu,
                        pools=self._records.pools.of(host.pair),
                        services=self._records.services.known(),
                        buckets=self._records.services.buckets(),
                        drained=self._records.drained,
                    )
        self._problems.compiled(HOST_SLICE, VIEW, problem)

    # --- apply the difference ------------------------------------------------------------------------------------------------

    def apply(self, now: float, may_delete: bool) -> set[int]:
        """Apply all differences; return the slices that were dirty. Without `may_delete`, or a host's record, nothing is deleted.

        Cost: O(dirty objects), whatever else the host holds.
        """
        if self.host_view is None:
            return set()
        may_delete = may_delete and self._records.host is not None
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
            self.slices[slice_id].doubted &= not self.in_force(slice_id)
            freed = self._numbers.settle(slice_id, self.slices[slice_id].holds)  # only after the kernel has deleted the devices
            if self.slices[slice_id].empty:
                del self.slices[slice_id]
            elif freed:
                for kind in (Middlebox, RouteTable):  # objects that got no number may get one now
                    self._records.dirty.mark(slice_id, kind)
        return applied

    def pending(self) -> list[Op]:
        """Return the operations of an `apply` that may touch everything; changes nothing."""
        desired: Objects = {}
        actual: Objects = {}
        keep: set[Key] = set()
        for target in self.slices.values():
            desired.update(target.desired)
            actual.update(target.actual)
            keep |= target.keep
        return self._diff(desired, actual, keep)

    def _diff(self, desired: Objects, actual: Objects, keep: Collection[Key]) -> list[Op]:
        known = [(vni, self.slices[vni]) for vni in {obj.vni for obj in desired.values()} & self.slices.keys()]
        full = {key for _, target in known for key in target.full}
        return diff(desired, actual, keep, {vni for vni, target in known if target.doubted}, full)

    def _may_touch(self, slice_id: int) -> bool:
        """Return whether a slice's desired content is known: it compiled once, or is known to be empty."""
        return self._compilation.knows(slice_id) and not self.slices[slice_id].dispute()

    def _run(
        self, desired: Objects, actual: Objects, keep: Collection[Key], whole: Set[int], now: float, may_delete: bool
    ) -> None:
        """Apply a difference. Slices with a refused operation are retried later as a whole.

        `whole` names the slices that were compared completely. Only a complete comparison ends a refusal: a part of a slice
        does not show whether the refused part is in force.
        """
        ops = [op for op in self._diff(desired, actual, keep) if self._may_run(op, desired, may_delete)]
        change = reloads(ops, self.slices, self._may_touch, lambda obj: not self._may_run(Delete(obj), {}, may_delete))
        ops = change.ops
        try:
            failures = self._kernel.apply(ops) if ops else []
        except KernelError as error:
            # Any of them may have been applied: the kernel is read before the retry.
            failures = [Failure(op, error) for op in ops]
        if ops and log.isEnabledFor(logging.DEBUG):
            log.debug("applied:\n  %s", "\n  ".join(op_text(op) for op in ops))
        refused = by_slice(failures)
        failed = {failure.op.obj.key for failure in failures}
        done: dict[int, list[Op]] = {}
        for op in ops:
            if op.obj.key not in failed:
                done.setdefault(op.obj.vni, []).append(op)
        change.note(failed, self.slices)  # before the other operations: these follow a table's change
        for slice_id, of_slice in done.items():
            for old in self._slice(slice_id).applied(of_slice):
                self._slice(old.vni).gone(old.key)
        self.writes += len(ops) - len(failures)
        for slice_id, found in refused.items():
            self._slice(slice_id).refused(failure.op.obj for failure in found)
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            self._problems.refused(slice_id, f"{found[0].error}{more}", now)
            reasons = {failure.op.obj.key: str(failure.error) for failure in found if failure.op.obj.has_children}
            self._refusals[slice_id] = ({} if slice_id in whole else self._refusals.get(slice_id, {})) | reasons
        for slice_id in (whole | ({PORTS} if HOST_SLICE in whole else set())) - refused.keys():
            self._problems.taken(slice_id)
            self._refusals.pop(slice_id, None)

    def _may_run(self, op: Op, desired: Objects, may_delete: bool) -> bool:
        """Return whether an operation may be applied now. A deletion that may not is kept for a later comparison."""
        obj = op.obj
        if not isinstance(op, Delete) or obj.key in desired:
            return True  # deleted to be created again, e.g. an incomplete device: nothing is lost
        if obj.says_ready or obj.says_active:
            return True  # the ready and active states do not come from records
        if may_delete and (self._compilation.is_superfluous(obj) or obj.key in self._slice(obj.vni).withdrawn):
            return True
        self._slice(obj.vni).touch(obj.key)
        return False

    def retry_due(self, now: float) -> bool:
        """Mark the slices whose retry is due; return whether there are any. If so, the kernel must be read first."""
        due = self._problems.due(now)
        for slice_id in due:
            self._slice(HOST_SLICE if slice_id == PORTS else slice_id).all_touched = True
        return bool(due)

    def next_retry(self) -> float | None:
        """Return the next time for `retry_due` or `compile`."""
        times = (self._problems.next_retry(), self._look_again_at)
        return min((when for when in times if when is not None), default=None)

    @property
    def host_trouble(self) -> str:
        """Return why the host's own slice is not in force, or nothing."""
        return self.problems.get(HOST_SLICE, "")

    def unapplied(self, *, in_sync: bool) -> tuple[int, ...]:
        """Return the VPCs whose objects are not all on this host yet. Cost: O(VPCs).

        VPCs that cannot be compiled are left out while the records are complete: they fail on all hosts alike.
        """

        carried = sorted(self._records.carried())
        return tuple(vni for vni in carried if self._problems.is_refused(vni) or not self._is_known(vni, in_sync))

    def _is_known(self, vni: int, in_sync: bool) -> bool:
        """Return whether a VPC has been compiled, or the reason why it cannot be compiled is known."""
        return self._compilation.knows(vni) or (in_sync and vni in self.problems)

    def port_is_up(self, eni_ifname: str, vni: int) -> bool:
        """Return whether the kernel holds a port and the port is up."""
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
        """Return the conntrack zone of packets routed to an interface on this host, None if no route leads there."""
        return self._numbers.zones.known(inlet_name(vni, eni_id))

    def zones_of(self, vni: int) -> Collection[int]:
        """Return all conntrack zones of a VPC on this host: its own, and those of its inlets."""
        return self._numbers.zones.of_vpc(vni)

    def vnis(self) -> Mapping[int, int]:
        """Return the VPCs of this host by conntrack zone."""
        return self._numbers.zones.vnis()

    def object_count(self) -> int:
        """Return the number of netorch's kernel objects."""
        return sum(len(target.actual) for target in self.slices.values()) - len(self.foreign())

    def foreign(self) -> tuple[str, ...]:
        """Return the foreign objects in netorch's own namespace. Cost: O(the host's own slice)."""
        found = self._slice(HOST_SLICE).actual.values()
        return tuple(sorted(obj.text() for obj in found if not obj.ours))

    def recomputed(self, vni: int) -> dict[Key, KernelObject]:
        """Return a slice compiled from nothing; must equal `slices[vni].desired`. For tests and for checking the audit."""
        return self._compilation.recomputed(vni)
