"""Records -> slices -> operations -> kernel. The only caller of the kernel's `apply`.

A VPC that cannot be compiled, or whose operations the kernel refuses, is a problem of its own: it keeps what it has,
its problem is told, and it is tried again; the others go on. When the host's own part (the tables that verify and drop)
cannot be applied, nothing else is: fail closed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from netorch.agent.moves import Moves
from netorch.agent.records import Dirty, Records
from netorch.agent.slices import Objects, Slice
from netorch.compiler.base import Compiler, HostView, Phase, VpcView
from netorch.compiler.ports import kept_keys
from netorch.compiler.registry import compile_host, compile_mapping, compile_slice, compile_vpc
from netorch.drivers.base import Gone, Kernel, KernelEvent, Lost, Seen
from netorch.errors import CompileError
from netorch.plan.diff import diff
from netorch.plan.explain import op_text
from netorch.state.base import HOST_SLICE, KernelObject, Key, slice_of_key
from netorch.state.op import Delete, Failure, Op

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0


class Reconciler:
    """Holds the slices of this host and keeps the kernel equal to them."""

    def __init__(self, records: Records, moves: Moves, kernel: Kernel, compilers: Sequence[Compiler]) -> None:
        self.problems: dict[int, str] = {}  # slice -> why it is not as it should be
        self.phases: dict[int, dict[str, Phase]] = {}
        self.slices: dict[int, Slice] = {}
        self.writes = 0
        self.repaired = 0
        self.host_view: HostView | None = None
        self._records = records
        self._moves = moves
        self._kernel = kernel
        self._compilers = compilers
        self._views: dict[int, VpcView] = {}
        self._retries: dict[int, tuple[float, float]] = {}  # slice -> (when, the pause after that)
        self._host_problem = ""

    # --- what the kernel holds -----------------------------------------------------------------------------------------------

    def read_kernel(self) -> int:
        """Take in everything that the kernel holds now; return how many objects differ from what was known.

        Cost: O(objects of this host); at the start, after lost notifications, and as a periodic audit.
        """
        return self._adopt(self._kernel.dump(), lambda key: True)

    def on_kernel(self, events: Iterable[KernelEvent]) -> None:
        """Note what changed behind our back."""
        for event in events:
            match event:
                case Seen(obj):
                    wanted = self._slice(obj.slice_id).wanted(obj.key)
                    self.repaired += wanted is not None and not wanted.matches(obj)
                    self._slice(obj.slice_id).seen(obj)
                case Gone(key):
                    self.repaired += self._slice(slice_of_key(key)).wanted(key) is not None
                    self._slice(slice_of_key(key)).gone(key)
                case Lost("nft"):
                    self._adopt(self._kernel.dump_nft(), lambda key: str(key[0]).startswith("nft-"))
                case Lost("underlay"):
                    self._records.dirty.host = True
                case Lost(_):
                    self.read_kernel()

    def _adopt(self, dumped: Objects, covers: Callable[[Key], bool]) -> int:
        by_slice: dict[int, Objects] = {}
        for key, obj in dumped.items():
            by_slice.setdefault(obj.slice_id, {})[key] = obj
        differing = 0
        for slice_id in self.slices.keys() | by_slice.keys():
            found = by_slice.get(slice_id, {})
            target = self._slice(slice_id)
            for key in [key for key in target.actual if key not in found and covers(key)]:
                del target.actual[key]
                target.touch(key)
                differing += 1
            for key, obj in found.items():
                known = target.actual.get(key)
                if known is None or not known.matches(obj):
                    target.actual[key] = obj
                    target.touch(key)
                    differing += 1
        return differing

    def _slice(self, slice_id: int) -> Slice:
        found = self.slices.get(slice_id)
        if found is None:
            found = self.slices[slice_id] = Slice()
        return found

    # --- what it should hold -------------------------------------------------------------------------------------------------

    def compile(self, dirty: Dirty, now: float) -> None:
        """Compile what the dirty records ask for; edits memory only, but for a look at the underlay device."""
        everything = dirty.host and self._compile_host()
        if self.host_view is None:
            return
        carried = self._records.carried()
        structures = dirty.structures | self._moves.arrivals_due(now)
        if everything:
            structures = structures | carried
            self._views.clear()
        for vni in sorted(structures):
            if vni in carried:
                self._compile_vpc(vni, now)
            else:
                self._drop_vpc(vni)
        for vni, address in sorted(dirty.mappings):
            if vni in self._views and vni in self._records.vpcs:
                try:
                    self._compile_mapping(self._views[vni], address)
                except CompileError as error:
                    self._note(vni, str(error))

    def _compile_host(self) -> bool:
        """Compile the host's own slice; return whether what all VPCs see has changed."""
        host = self._records.host
        underlay = self._kernel.underlay(host.underlay) if host is not None else None
        if host is None:
            self._host_problem = f"host {self._records.host_name} is not in the store; create it: netorch host create"
        elif underlay is None:
            self._host_problem = f"no device holds the underlay address {host.underlay}; waiting for it"
        else:
            self._host_problem = ""
        if host is None or underlay is None:
            self.problems[HOST_SLICE] = self._host_problem
            return False  # the kernel keeps what it has
        self.problems.pop(HOST_SLICE, None)
        view = HostView(host=host, underlay_ifname=underlay.ifname, underlay_mtu=underlay.mtu)
        if view == self.host_view:
            return False
        self.host_view = view
        self._slice(HOST_SLICE).set_own(compile_host(self._compilers, view), frozenset())
        return True

    def _compile_vpc(self, vni: int, now: float) -> None:
        assert self.host_view is not None
        target = self._slice(vni)
        ports = {str(key[1]) for key in target.actual if key[0] == "link"}
        phases = self._moves.phases(vni, ports, now)
        problem = self._records.vpcs[vni].problem() if vni in self._records.vpcs else "no record of the VPC is here yet"
        if not problem:
            try:
                view = self._records.view(vni, self.host_view, phases)
                own = compile_vpc(self._compilers, view)
                before = self._views.get(vni)
                target.set_own(own, kept_keys(view))
                self._views[vni] = view
                self._compile_mappings(view, before)
            except KeyError as error:
                problem = f"the record {error.args[0]} is missing"
            except CompileError as error:
                problem = str(error)
        self._note(vni, problem)
        if not problem:
            self.phases[vni] = phases

    def _compile_mappings(self, view: VpcView, before: VpcView | None) -> None:
        """Compile every mapping of a VPC that is new here, else those whose port came or went."""
        records = self._records.vpcs[view.vni]
        target = self._slice(view.vni)
        if before is None:
            for address in target.of_mapping.keys() - records.mappings.keys():
                target.set_mapping(address, ())
            addresses: Iterable[str] = records.mappings
        else:
            addresses = before.held ^ view.held
        for address in addresses:
            self._compile_mapping(view, address)

    def _compile_mapping(self, view: VpcView, address: str) -> None:
        mapping = self._records.vpcs[view.vni].mappings.get(address)
        objects = compile_mapping(self._compilers, view, mapping).values() if mapping is not None else ()
        self._slice(view.vni).set_mapping(address, objects)

    def _drop_vpc(self, vni: int) -> None:
        self._slice(vni).clear()
        self._views.pop(vni, None)
        self.phases.pop(vni, None)
        self._records.forget_vpc(vni)
        self._note(vni, "")

    def _note(self, slice_id: int, problem: str) -> None:
        if problem and self.problems.get(slice_id) != problem:
            log.warning("degraded vni=%d problem=%r", slice_id, problem)
        if problem:
            self.problems[slice_id] = problem
        elif self.problems.pop(slice_id, None) is not None:
            log.info("repaired vni=%d", slice_id)

    def drop_leftovers(self) -> None:
        """Ask for nothing in slices of the kernel that no record explains: what an earlier run left behind."""
        carried = self._records.carried()
        for vni, target in self.slices.items():
            if vni not in carried and vni != HOST_SLICE and not target.all_touched and target.actual:
                target.clear()

    # --- from one to the other -----------------------------------------------------------------------------------------------

    def apply(self, now: float, may_delete: bool) -> set[int]:
        """Carry out every difference; return the slices that were dirty. Without `may_delete` nothing is taken away."""
        if self.host_view is None:
            return set()
        host = self._slice(HOST_SLICE)
        applied: set[int] = set()
        if host.dirty:
            applied.add(HOST_SLICE)
            self._run(diff(*host.difference()), now, may_delete)
        if self.problems.get(HOST_SLICE):
            return applied
        desired: Objects = {}
        actual: Objects = {}
        keep: set[Key] = set()
        for slice_id, target in self.slices.items():
            if not target.dirty or not self._may_touch(slice_id):
                continue
            wanted, found = target.difference()
            desired.update(wanted)
            actual.update(found)
            keep |= target.keep
            applied.add(slice_id)
        self._run(diff(desired, actual, keep), now, may_delete)
        for slice_id in [slice_id for slice_id in applied if slice_id and self.slices[slice_id].empty]:
            del self.slices[slice_id]
        return applied

    def pending(self) -> list[Op]:
        """Return what `apply` would do if it could touch everything; changes nothing."""
        desired: Objects = {}
        actual: Objects = {}
        keep: set[Key] = set()
        for target in self.slices.values():
            desired.update(target.desired())
            actual.update(target.actual)
            keep |= target.keep
        return diff(desired, actual, keep)

    def _may_touch(self, slice_id: int) -> bool:
        """Return whether the desired part is known: compiled once, or known to be nothing."""
        return slice_id in self._views or slice_id not in self._records.carried()

    def _run(self, ops: list[Op], now: float, may_delete: bool) -> None:
        if not may_delete:
            for op in ops:
                if isinstance(op, Delete):
                    self._slice(op.obj.slice_id).touch(op.obj.key)
            ops = [op for op in ops if not isinstance(op, Delete)]
        if not ops:
            return
        failures = self._kernel.apply(ops)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("applied:\n  %s", "\n  ".join(op_text(op) for op in ops))
        failed = {failure.op.obj.key: failure for failure in failures}
        for op in ops:
            if op.obj.key not in failed:
                self._done(op)
        self.writes += len(ops) - len(failures)
        for slice_id in {op.obj.slice_id for op in ops}:
            refused = [failure for failure in failures if failure.op.obj.slice_id == slice_id]
            if refused:
                self._refused(slice_id, refused, now)
            elif slice_id in self._retries:
                del self._retries[slice_id]
                self._note(slice_id, "")

    def _done(self, op: Op) -> None:
        target = self._slice(op.obj.slice_id)
        key = op.obj.key
        if isinstance(op, Delete):
            target.actual.pop(key, None)
            if key[0] == "link":
                for child in [child for child, obj in target.actual.items() if _goes_with(obj, key)]:
                    del target.actual[child]
        else:
            target.actual[key] = op.obj

    def _refused(self, slice_id: int, failures: Sequence[Failure], now: float) -> None:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        self._note(slice_id, f"{failures[0].error}{more}")
        pause = self._retries.get(slice_id, (0.0, RETRY_FIRST_S))[1]
        self._retries[slice_id] = (now + pause, min(pause * 2, RETRY_MAX_S))

    def retry_due(self, now: float) -> bool:
        """Mark the slices whose retry is due; return whether there is one, in which case the kernel is to be read first."""
        due = [slice_id for slice_id, (when, _) in self._retries.items() if when <= now]
        for slice_id in due:
            pause = self._retries[slice_id][1]
            self._retries[slice_id] = (now + pause, pause)
            self._slice(slice_id).all_touched = True
        return bool(due)

    def next_retry(self) -> float | None:
        """Return when `retry_due` may next have something."""
        return min((when for when, _ in self._retries.values()), default=None)

    def port_is_up(self, eni_ifname: str, vni: int) -> bool:
        """Return whether the kernel holds a port, up."""
        target = self.slices.get(vni)
        return target is not None and ("up", eni_ifname) in target.actual

    def object_count(self) -> int:
        """Return how many kernel objects are ours."""
        return sum(len(target.actual) for target in self.slices.values())

    def recomputed(self, vni: int) -> dict[Key, KernelObject]:
        """Return a slice compiled from nothing; must equal `slices[vni].desired()`. For tests and the audit of audits."""
        return compile_slice(self._compilers, self._views[vni], self._records.vpcs[vni].mappings.values())


def _goes_with(obj: KernelObject, link: Key) -> bool:
    return obj.parent == link or getattr(obj, "ifname", "") == link[1]
