"""Records -> slices -> operations -> kernel. The only caller of the kernel's `apply`.

A VPC that cannot be compiled, or whose operations the kernel refuses, is a problem of its own: it keeps what it has,
its problem is told, and it is tried again; the others go on. When the host's own part (the tables that verify and drop)
cannot be applied, nothing else is: fail closed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set

import msgspec

from netorch.agent.moves import Moves
from netorch.agent.problems import RULES, STRUCTURE, Problems
from netorch.agent.records import Dirty, Records
from netorch.agent.slices import Objects, Slice
from netorch.agent.zones import Zones
from netorch.compiler.base import Compiler, HostView, Phase, VpcView
from netorch.compiler.ports import kept_keys
from netorch.compiler.registry import compile_host, compile_mapping, compile_rules, compile_slice, compile_vpc
from netorch.drivers.base import Gone, Kernel, KernelEvent, Lost, Seen
from netorch.errors import CompileError, KernelError, UnreadableRecord
from netorch.plan.diff import diff
from netorch.plan.explain import op_text
from netorch.records import keys
from netorch.records.codec import check_value
from netorch.records.vpc import MissingRecord
from netorch.state.base import HOST_SLICE, KernelObject, Key, slice_of_key
from netorch.state.foreign import Foreign
from netorch.state.op import Delete, Failure, Op

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 2.0  # after the kernel could not say which device holds the underlay address, or none did


class Reconciler:
    """Holds the slices of this host and keeps the kernel equal to them."""

    def __init__(self, records: Records, moves: Moves, kernel: Kernel, compilers: Sequence[Compiler]) -> None:
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
        self._problems = Problems()
        self._link_refusals: dict[int, dict[str, str]] = {}  # slice -> device -> why the kernel refused it last
        self._zones = Zones()
        self._look_again_at: float | None = None

    @property
    def problems(self) -> dict[int, str]:
        """Return why slices are not as they should be."""
        return self._problems.texts

    # --- what the kernel holds -----------------------------------------------------------------------------------------------

    def read_kernel(self) -> int:
        """Take in everything that the kernel holds now; return how many objects differ from what was known.

        Cost: O(objects of this host); at the start, after lost notifications, and as a periodic audit.
        """
        return self._adopt(self._kernel.dump(), lambda key: True)

    def on_kernel(self, events: Sequence[KernelEvent]) -> None:
        """Note what changed behind our back. Raises KernelError when the kernel cannot be read; read it all then."""
        lost = {event.what for event in events if isinstance(event, Lost)}
        if "underlay" in lost:
            self._records.dirty.host = True
        if lost - {"underlay", "nft"}:
            self.read_kernel()  # newer than all the other events, which must not be applied to it
            return
        for event in events:
            match event:
                case Seen(obj):
                    self.repaired += _is_damage(self._slice(obj.slice_id), obj.key, obj)
                    self._slice(obj.slice_id).seen(obj)
                case Gone(key):
                    self.repaired += _is_damage(self._slice(slice_of_key(key)), key, None)
                    self._slice(slice_of_key(key)).gone(key)
                case _:
                    pass
        if "nft" in lost:
            self._adopt(self._kernel.dump_nft(), lambda key: str(key[0]).startswith("nft-"))

    def _adopt(self, dumped: Objects, covers: Callable[[Key], bool]) -> int:
        by_slice: dict[int, Objects] = {}
        for key, obj in dumped.items():
            by_slice.setdefault(obj.slice_id, {})[key] = obj
            self._zones.learn(obj)
        differing = 0
        for slice_id in self.slices.keys() | by_slice.keys():
            found = by_slice.get(slice_id, {})
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
        found = self.slices.get(slice_id)
        if found is None:
            found = self.slices[slice_id] = Slice()
        return found

    # --- what it should hold -------------------------------------------------------------------------------------------------

    def compile(self, dirty: Dirty, now: float) -> None:
        """Compile what the dirty records ask for; edits memory only, but for a look at the underlay device."""
        everything = False
        if dirty.host or (self._look_again_at is not None and now >= self._look_again_at):
            everything = self._compile_host(now)
        carried = self._records.carried()
        structures = dirty.structures | self._moves.arrivals_due(now)
        if everything:
            structures = structures | carried
        for vni in sorted(structures):
            if vni not in carried:
                self._drop_vpc(vni)
            elif self.host_view is not None:  # else all are compiled once there is one
                self._compile_vpc(vni, self.host_view, now)
        for vni in sorted(dirty.rules - structures):
            if vni in self._views and vni in self._records.vpcs:
                view = msgspec.structs.replace(self._views[vni], **self._records.rules(vni))
                self._compile_rules(view, self._records.problem(vni))
        for vni, address in sorted(dirty.mappings):
            if vni in self._views and vni in self._records.vpcs:
                self._compile_mapping(self._views[vni], address)

    def _compile_host(self, now: float) -> bool:
        """Compile the host's own slice; return whether what all VPCs see has changed. Flawed, the kernel keeps what it has."""
        self._look_again_at = None
        host, view, flaw = self._records.host, None, self._records.host_flaw
        if not flaw and host is None:
            flaw = f"host {self._records.host_name} is not in the store; create it: netorch host create"
        elif not flaw and host is not None:
            try:
                underlay = self._kernel.underlay(host.underlay)
            except KernelError as error:
                flaw, self._look_again_at = str(error), now + LOOK_AGAIN_S
            else:
                if underlay is None:  # asked again too: a route that makes a way for an address on the loopback is no event
                    flaw = f"no device holds the underlay address {host.underlay}; waiting for it"
                    self._look_again_at = now + LOOK_AGAIN_S
                else:
                    view = HostView(host=host, underlay_ifname=underlay.ifname, underlay_mtu=underlay.mtu)
        changed = view is not None and view != self.host_view
        if view is not None and changed:
            try:
                self._slice(HOST_SLICE).set_own(compile_host(self._compilers, view), frozenset())
            except Exception as error:  # see _flaw_of
                flaw, changed = _flaw_of(error), False
            else:
                self.host_view = view
        self._problems.compiled(HOST_SLICE, STRUCTURE, flaw)
        return changed

    def _compile_vpc(self, vni: int, host_view: HostView, now: float) -> None:
        target = self._slice(vni)
        ports = {str(key[1]) for key in target.actual if key[0] == "link"}
        phases = self._moves.phases(vni, ports, now)
        flaw = self._records.problem(vni)
        if not flaw:
            try:
                view = self._records.view(vni, host_view, phases, self._zones.of(vni))
                target.set_own(compile_vpc(self._compilers, view), kept_keys(view))
            except Exception as error:  # see _flaw_of
                flaw = _flaw_of(error)
            else:
                self.phases[vni] = phases
                before = self._views.get(vni)
                self._compile_rules(view, "")
                self._compile_mappings(view, before)
        self._problems.compiled(vni, STRUCTURE, flaw)

    def _compile_rules(self, view: VpcView, flaw: str) -> None:
        """Compile rules; those that cannot be compiled leave the last good ones in force, whatever else has changed."""
        self._views[view.vni] = view
        if not flaw:
            try:
                self._slice(view.vni).set_rules(compile_rules(self._compilers, view))
            except Exception as error:  # see _flaw_of
                flaw = _flaw_of(error)
        self._problems.compiled(view.vni, RULES, flaw)

    def _compile_mappings(self, view: VpcView, before: VpcView | None) -> None:
        """Compile the mappings whose port came or went, or all when what they are compiled with is new."""
        records = self._records.vpcs[view.vni]
        target = self._slice(view.vni)
        addresses: Iterable[str]
        if before is None or before.vpc != view.vpc or before.host != view.host:
            addresses = target.of_mapping.keys() | records.mappings.keys()
        else:
            addresses = before.held ^ view.held
        for address in addresses:
            self._compile_mapping(view, address)

    def _compile_mapping(self, view: VpcView, address: str) -> None:
        found = self._records.vpcs[view.vni].mappings.get(address)
        mapping = found.record if found is not None else None
        flaw = ""
        try:
            if mapping is not None:
                check_value(keys.mapping(view.vni, address), mapping)
            objects = compile_mapping(self._compilers, view, mapping).values() if mapping is not None else ()
        except Exception as error:  # see _flaw_of
            flaw = f"mapping {address}: {_flaw_of(error)}"
        else:
            self._slice(view.vni).set_mapping(address, objects)
        self._problems.compiled(view.vni, address, flaw)

    def _drop_vpc(self, vni: int) -> None:
        self._slice(vni).clear()
        self._views.pop(vni, None)
        self.phases.pop(vni, None)
        self._records.forget_vpc(vni)
        self._problems.dropped(vni)

    # --- from one to the other -----------------------------------------------------------------------------------------------

    def apply(self, now: float, may_delete: bool) -> set[int]:
        """Carry out every difference; return the slices that were dirty. Without `may_delete` nothing is taken away."""
        if self.host_view is None:
            return set()
        host = self._slice(HOST_SLICE)
        applied: set[int] = set()
        if host.dirty:
            applied.add(HOST_SLICE)
            whole = {HOST_SLICE} if host.all_touched else set()
            self._run(*host.difference(), host.keep, whole, now, may_delete)
        if self.problems.get(HOST_SLICE):
            return applied
        desired: Objects = {}
        actual: Objects = {}
        keep: set[Key] = set()
        whole = set()
        for slice_id, target in self.slices.items():
            if not target.dirty or not self._may_touch(slice_id):
                continue
            if target.all_touched:
                whole.add(slice_id)
            wanted, found = target.difference()
            desired.update(wanted)
            actual.update(found)
            keep |= target.keep
            applied.add(slice_id)
        self._run(desired, actual, keep, whole, now, may_delete)
        for slice_id in [slice_id for slice_id in applied if slice_id and self.slices[slice_id].empty]:
            del self.slices[slice_id]
            self._zones.free(slice_id)  # not before nothing of the VPC is left in the kernel
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

    def _run(
        self, desired: Objects, actual: Objects, keep: Collection[Key], whole: Set[int], now: float, may_delete: bool
    ) -> None:
        """Carry out a difference. Slices of which something is refused are tried again later, as a whole.

        `whole` names the slices of which everything was compared: only that ends a refusal, because a part of a slice says
        nothing about the part that was refused.
        """
        ops = diff(desired, actual, keep)
        if not may_delete:
            # What is only removed to be made again, e.g. half a device, is not taken away.
            withheld = [op for op in ops if isinstance(op, Delete) and op.obj.key not in desired]
            for deletion in withheld:
                self._slice(deletion.obj.slice_id).touch(deletion.obj.key)
            ops = [op for op in ops if not isinstance(op, Delete) or op.obj.key in desired]
        try:
            failures = self._kernel.apply(ops) if ops else []
        except KernelError as error:
            failures = [
                Failure(op, error) for op in ops
            ]  # nobody knows which were done: the kernel is read before they are retried
        if ops and log.isEnabledFor(logging.DEBUG):
            log.debug("applied:\n  %s", "\n  ".join(op_text(op) for op in ops))
        refused: dict[int, list[Failure]] = {}
        for failure in failures:
            refused.setdefault(failure.op.obj.slice_id, []).append(failure)
        failed = {failure.op.obj.key for failure in failures}
        for op in ops:
            if op.obj.key not in failed:
                self._done(op)
        self.writes += len(ops) - len(failures)
        for slice_id, found in refused.items():
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            self._problems.refused(slice_id, f"{found[0].error}{more}", now)
            links = {str(failure.op.obj.key[1]): str(failure.error) for failure in found if failure.op.obj.key[0] == "link"}
            self._link_refusals[slice_id] = ({} if slice_id in whole else self._link_refusals.get(slice_id, {})) | links
        for slice_id in whole - refused.keys():
            self._problems.taken(slice_id)
            self._link_refusals.pop(slice_id, None)

    def _done(self, op: Op) -> None:
        target = self._slice(op.obj.slice_id)
        key = op.obj.key
        if isinstance(op, Delete):
            target.actual.pop(key, None)
            if key[0] in ("link", "nft-set"):
                for child in [child for child, obj in target.actual.items() if _goes_with(obj, key)]:
                    del target.actual[child]
        else:
            target.actual[key] = op.obj

    def retry_due(self, now: float) -> bool:
        """Mark the slices whose retry is due; return whether there is one, in which case the kernel is to be read first."""
        due = self._problems.due(now)
        for slice_id in due:
            self._slice(slice_id).all_touched = True
        return bool(due)

    def next_retry(self) -> float | None:
        """Return when `retry_due` or `compile` may next have something."""
        times = (self._problems.next_retry(), self._look_again_at)
        return min((when for when in times if when is not None), default=None)

    def port_is_up(self, eni_ifname: str, vni: int) -> bool:
        """Return whether the kernel holds a port, up."""
        target = self.slices.get(vni)
        return target is not None and ("up", eni_ifname) in target.actual

    def refusal_of(self, ifname: str, vni: int) -> str:
        """Return why the kernel refused a device of a VPC, or nothing."""
        return self._link_refusals.get(vni, {}).get(ifname, "")

    def zone_of(self, vni: int) -> int:
        """Return the conntrack zone of a VPC on this host. Raises CompileError when all are taken."""
        return self._zones.of(vni)

    def vnis(self) -> Mapping[int, int]:
        """Return the VPCs of this host by conntrack zone."""
        return self._zones.vnis()

    def object_count(self) -> int:
        """Return how many kernel objects are ours."""
        return sum(len(target.actual) for target in self.slices.values()) - len(self.foreign())

    def foreign(self) -> tuple[str, ...]:
        """Return what is not netorch's in its own namespace. Cost: O(the host's own part)."""
        found = self._slice(HOST_SLICE).actual.values()
        return tuple(sorted(obj.text for obj in found if isinstance(obj, Foreign)))

    def recomputed(self, vni: int) -> dict[Key, KernelObject]:
        """Return a slice compiled from nothing; must equal `slices[vni].desired()`. For tests and the audit of audits."""
        mappings = [stored.record for stored in self._records.vpcs[vni].mappings.values()]
        return compile_slice(self._compilers, self._views[vni], mappings)


def _is_damage(target: Slice, key: Key, found: KernelObject | None) -> bool:
    """Return whether the kernel held an object as it is wanted, and now holds another or none, though nobody may take it."""
    wanted, known = target.wanted(key), target.actual.get(key)
    if wanted is None or known is None or not wanted.matches(known) or (found is not None and wanted.matches(found)):
        return False
    return key not in target.keep and wanted.parent not in target.keep  # a port on its way to another host is no damage


def _flaw_of(error: Exception) -> str:
    """Return what a compiler, or whoever made its view, ran into.

    Compilers are plug-ins and records come from outside: whatever one VPC makes them raise must not stop the others.
    """
    if isinstance(error, MissingRecord | CompileError | UnreadableRecord):
        return str(error)
    return f"it cannot be compiled: {type(error).__name__}: {error}"


def _goes_with(obj: KernelObject, parent: Key) -> bool:
    return obj.parent == parent or getattr(obj, "ifname", "") == parent[1]
