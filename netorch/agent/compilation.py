"""Compile records to slices in memory. Only the parts of compilers whose inputs changed are compiled again.

A part that cannot be compiled is a problem of its own. Its last result stays in force and the other parts go on. If the part
has never compiled since the agent started, the agent deletes nothing of its slice: objects that the part would yield look
superfluous.

There is one exception: a public address or range that a VPC no longer has. The next VPC to get the prefix must not share it
with a VPC that cannot be compiled or has an unreadable record. So the objects that lead the prefix to the VPC are withdrawn as
soon as its record is gone. The same holds for a port's VLAN and for a customer's device whose connection has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence, Set
from functools import partial
from typing import Final

import msgspec

from netorch.agent.indexes.dirty import Dirty
from netorch.agent.moves import Moves
from netorch.agent.numbers import Numbers
from netorch.agent.problems import DISPUTE, VIEW, Problems
from netorch.agent.records import Records
from netorch.agent.slices import Slice
from netorch.agent.views import Views
from netorch.compiler.base import (
    Compiler,
    HostPart,
    HostView,
    LocalEni,
    MappingPart,
    Peer,
    PeerMappingPart,
    Phase,
    ProblemPart,
    RoutesFromPeer,
    RoutesToPeer,
    VpcPart,
    VpcView,
)
from netorch.compiler.ports import kept_keys
from netorch.compiler.private import end_of, ends_of
from netorch.compiler.registry import (
    COMPLETE,
    Objects,
    compile_host_part,
    compile_mapping_part,
    compile_slice,
    compile_vpc_part,
    inputs_of,
    left_out_by,
    parts_of,
)
from netorch.errors import CompileError, UnreadableRecord
from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id
from netorch.model.mapping import Mapping, PublicMapping
from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import VpnConnection
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.codec import check_value
from netorch.records.vpc import MissingRecord
from netorch.state.base import HOST_SLICE, KernelObject, link_key

# Records that decide a VPC's public prefixes and its ends of tunnels and VLANs.
_GIVING: Final = frozenset({PublicMapping, Vpc, HostView, VpnConnection, VirtualInterface})


class Compilation:
    """The compiled parts of all slices of this host."""

    def __init__(
        self,
        records: Records,
        moves: Moves,
        numbers: Numbers,
        compilers: Sequence[Compiler],
        slice_of: Callable[[int], Slice],
        problems: Problems,
    ) -> None:
        self.phases: dict[int, dict[str, Phase]] = {}
        self.host: HostView | None = None  # as VPCs see it, at the last turn
        self._full_host: HostView | None = None  # with the fields that only other hosts use
        self._records = records
        self._moves = moves
        self._numbers = numbers
        self._compilers = compilers
        self._slice = slice_of
        self._problems = problems
        self._host_parts = parts_of(compilers, HostPart)
        self._vpc_parts = parts_of(compilers, VpcPart)
        self._mapping_parts = parts_of(compilers, MappingPart)
        self._peer_parts = parts_of(compilers, PeerMappingPart)
        self._problem_parts = parts_of(compilers, ProblemPart)
        self._inputs = inputs_of(compilers)
        self._views = Views(records, self._inputs, numbers)
        self._owed: dict[int, set[type]] = {}  # kinds of records that changed while their VPC could not be compiled
        self._missing: dict[int, set[str]] = {}  # slice -> the parts that have never compiled

    def turn(self, dirty: Dirty, host: HostView | None, now: float) -> None:
        """Compile what depends on the dirty records, and everything when the host's own view has changed.

        Without a host view nothing is compiled. VPCs that are no longer carried are dropped in any case.
        """
        carried = self._records.carried()
        full, host = host, _as_vpcs_see_it(host) if host is not None else None
        host_changed, full_changed = host != self.host, full != self._full_host
        self.host, self._full_host = host, full
        kinds = {vni: set(found) for vni, found in dirty.kinds.items()}
        for vni in self._moves.arrivals_due(now):
            kinds.setdefault(vni, set()).add(Phase)
        for vni in carried if host_changed else ():
            kinds.setdefault(vni, set()).add(HostView)
        changed: set[type] = set()
        complete: set[int] = set()  # peers to which route tables lead differently
        led_to: set[int] = set()  # peers whose routes from other VPCs changed
        for vni in sorted(kinds):
            if vni not in carried:
                changed |= self._drop(vni)
                continue
            if host is None:
                continue  # everything is compiled once there is a view
            before = self._views.known.get(vni)
            differing = self._compile_vpc(vni, kinds[vni], host, now)
            changed |= differing
            if before is None:
                complete.add(vni)
            if RoutesToPeer in differing:
                led_to |= self._records.peerings.of(vni).keys()
        for vni in sorted(led_to):
            assert host is not None
            changed |= self._compile_vpc(vni, {RoutesFromPeer}, host, now)
        compiled = kinds.keys() | led_to | self._compile_dirty_mappings(dirty, complete)
        for vni in self._views.known.keys() & compiled:
            self._note_dispute(vni)
        for vni in kinds.keys() & carried:
            if not kinds[vni].isdisjoint(_GIVING):
                self._withdraw(vni)
        if full is not None:
            self._compile_host(full, full_changed, changed)

    def knows(self, vni: int) -> bool:
        """Return whether the content of a VPC's slice is known. It is empty for a VPC that is not carried."""
        return vni in self._views.known or vni not in self._records.carried()

    def view(self, vni: int) -> VpcView | None:
        """Return the last view of a VPC that compilers got, or None."""
        return self._views.known.get(vni)

    def is_superfluous(self, obj: KernelObject) -> bool:
        """Return whether an object that no part yields can be deleted: each part of its slice has compiled at least once.

        What the host holds for its VPCs must wait until all of them have compiled, and what such objects may be in, too. What
        goes before anything changes never waits: it is a short cut past rules, and they may be another part's.
        """
        if self._missing.get(obj.vni):
            return obj.goes_first
        if obj.vni != HOST_SLICE or self._records.carried() <= self._views.known.keys():
            return True
        return not obj.has_children and not self._may_be_for_vpcs(obj)

    def _may_be_for_vpcs(self, obj: KernelObject) -> bool:
        """Return whether a host part could yield an object for a VPC."""
        assert self.host is not None
        parts = (part for part in self._host_parts if part.role in (None, self.host.host.role))
        return any(type(obj) in part.yields for part in parts)

    def recomputed(self, vni: int) -> Objects:
        """Return a slice compiled from records alone. Raises CompileError."""
        assert self.host is not None
        views = Views(self._records, self._inputs, self._numbers, self._views.known)
        view, _, _ = views.refresh(vni, set(), self.host, self.phases[vni])
        known = [vni, *(peer.vni for peer in view.of(Peer))]
        return compile_slice(self._compilers, view, (found for each in known for found in self._records.vpcs[each].each(Mapping)))

    def _compile_vpc(self, vni: int, kinds: Set[type], host: HostView, now: float) -> Set[type]:
        """Compile the parts of a VPC that depend on these kinds of records; return which inputs differ."""
        target = self._slice(vni)
        owed = self._owed.setdefault(vni, set())
        owed |= kinds
        phases = self.phases.get(vni)
        if phases is None or not owed.isdisjoint((Phase, NetworkInterface)):
            phases = self._moves.phases(vni, lambda ifname: link_key(ifname) in target.actual, now)
        problem = self._records.problem(vni)
        if problem:
            self._problems.compiled(vni, VIEW, problem)
            return frozenset()
        try:
            view, before, changed = self._views.refresh(vni, owed, host, phases)
        except Exception as error:  # see _problem_of
            self._problems.compiled(vni, VIEW, _problem_of(error))
            self._numbers.settle(vni, target.holds)  # free the numbers chosen for this view
            return frozenset()
        self._problems.compiled(vni, VIEW, "")
        del self._owed[vni]
        self.phases[vni] = phases
        self._keep(target, view, changed)
        failed = self._problems.failed_parts(vni)
        for part in self._vpc_parts:
            if before is None or not part.inputs.isdisjoint(changed):
                seen = msgspec.structs.replace(view, failed=failed) if failed else view
                problem = self._compile_part(vni, part.id, partial(compile_vpc_part, part, seen))
                if problem and part.otherwise is not None:
                    instead = msgspec.structs.replace(part, compile=part.otherwise)
                    target.set_part((part.id, ""), _objects_or_none(partial(compile_vpc_part, instead, seen)))
                failed = failed | {part.id} if problem else failed - {part.id}
        for check in self._problem_parts:
            if before is None or not check.inputs.isdisjoint(changed):
                self._note_left_out(check, view)
        again = [part for part in self._mapping_parts if before is None or not part.inputs.isdisjoint(changed)]
        self._compile_mappings(view, self._records.vpcs[vni].mappings, again)
        if before is not None and before.active != view.active:
            others = [part for part in self._mapping_parts if part not in again]
            self._compile_mappings(view, before.active ^ view.active, others)
        self._compile_peers(view, before, changed)
        return changed

    def _withdraw(self, vni: int) -> None:
        """Withdraw public prefixes, tunnels and VLANs that a VPC no longer has. Where everything compiled, nothing needs this.

        Cost: O(slice) where something could not be compiled.
        """
        target = self._slice(vni)
        if self._problems.in_force(vni):
            target.withdrawn = frozenset()
            return
        objects = (*target.desired.values(), *target.actual.values())
        led = {obj.key for obj in objects if obj.public_prefix and not self._records.gives(vni, obj.public_prefix)}
        ids = [key.rpartition("/")[2] for key in self._records.below(keys.vpc_prefix(vni).rstrip("/"))]
        ends = ends_of(vni, (each for each in ids if is_id(each, "vpn")), (each for each in ids if is_id(each, "dxvif")))
        ended = {obj.key for obj in objects if (end := end_of(obj)) and end not in ends}
        target.withdraw(frozenset(led | ended))

    def _compile_peers(self, view: VpcView, before: VpcView | None, changed: Set[type]) -> None:
        """Compile a VPC's objects for its peers' mappings: all for new peers, else the parts that depend on these inputs."""
        known = {peer.vni for peer in before.of(Peer)} if before is not None else set()
        now = {peer.vni for peer in view.of(Peer)}
        for peer in sorted(known - now):
            self._slice(view.vni).drop_parts(_scope(peer))
            self._problems.dropped_parts(view.vni, _scope(peer))
        again = [part for part in self._peer_parts if not part.inputs.isdisjoint(changed)]
        for peer in sorted(now):
            self._compile_mappings(view, self._records.vpcs[peer].mappings, again if peer in known else self._peer_parts, peer)

    def _keep(self, target: Slice, view: VpcView, changed: Set[type]) -> None:
        if LocalEni not in changed:
            return
        keep = kept_keys(view)
        if keep != target.keep:
            target.keep = keep
            target.all_touched = True  # objects that were left alone must be compared again

    def _compile_part(self, slice_id: int, part_id: str, compile_it: Callable[[], Objects]) -> str:
        """Compile a part, and return its problem; its last objects stay if there is one."""
        problem, target = "", self._slice(slice_id)
        try:
            target.set_part((part_id, ""), compile_it())
        except Exception as error:  # see _problem_of
            problem = _problem_of(error)
            if not target.has_part((part_id, "")):
                self._missing.setdefault(slice_id, set()).add(part_id)
        else:
            if slice_id in self._missing:
                self._missing[slice_id].discard(part_id)
        self._problems.compiled(slice_id, (part_id, ""), problem)
        return problem

    def _note_left_out(self, part: ProblemPart, view: VpcView) -> None:
        problem, left_out = "", COMPLETE
        try:
            left_out = left_out_by(part, view)
        except Exception as error:  # see _problem_of
            problem = _problem_of(error)
        self._problems.compiled(view.vni, (part.id, ""), problem)
        self._problems.left_out(view.vni, part.id, left_out)

    def _compile_dirty_mappings(self, dirty: Dirty, complete: Collection[int]) -> set[int]:
        """Compile dirty mappings for their own VPCs and for the VPCs peered with them; return those VPCs."""
        by_vni: dict[int, list[str]] = {}
        for vni, address in dirty.mappings:
            if vni in self._records.vpcs:
                by_vni.setdefault(vni, []).append(address)
        known, compiled = self._views.known, set()
        for vni, addresses in sorted(by_vni.items()):
            addresses.sort()
            if vni in known and vni not in complete:
                self._compile_mappings(known[vni], addresses, self._mapping_parts)
                compiled.add(vni)
            for other in self._records.peerings.peered_with(vni):
                if other in known and any(peer.vni == vni for peer in known[other].of(Peer)):
                    self._compile_mappings(known[other], addresses, self._peer_parts, vni)
                    compiled.add(other)
        return compiled

    def _compile_mappings(
        self,
        view: VpcView,
        addresses: Iterable[str],
        parts: Sequence[MappingPart] | Sequence[PeerMappingPart],
        of: int | None = None,
    ) -> None:
        """Compile parts for mappings of the VPC, or of the peer whose VNI is `of`."""
        if not parts:
            return
        vni, target = view.vni, self._slice(view.vni)
        scope = _scope(of) if of is not None else ""
        records = self._records.vpcs[vni if of is None else of]
        seen = [(part, view.only(part.inputs)) for part in parts]
        for address in addresses:
            mapping = records.one(Mapping, address)
            problem: str = ""
            if mapping is not None:
                try:
                    check_value(keys.mapping(records.vni, address), mapping)
                    compiled = [(part.id, compile_mapping_part(part, own, mapping)) for part, own in seen]
                except Exception as error:  # see _problem_of
                    problem = f"mapping {address}: {_problem_of(error)}"
            else:
                compiled = [(part.id, {}) for part in parts]
            self._problems.compiled(vni, ("", scope + address), problem)
            for part_id, objects in compiled if not problem else ():
                target.set_part((part_id, scope + address), objects)

    def _compile_host(self, host: HostView, host_changed: bool, changed: Set[type]) -> None:
        for part in self._host_parts:
            if host_changed or not part.inputs.isdisjoint(changed):
                self._compile_part(part.slice, part.id, partial(compile_host_part, part, host, self._views.known))
        for slice_id in {part.slice for part in self._host_parts}:
            self._note_dispute(slice_id)

    def _note_dispute(self, slice_id: int) -> None:
        self._problems.compiled(slice_id, DISPUTE, self._slice(slice_id).dispute())

    def _drop(self, vni: int) -> Set[type]:
        """Remove everything of a VPC; return the inputs that it had."""
        view = self._views.forget(vni)
        self._slice(vni).clear()
        self.phases.pop(vni, None)
        self._owed.pop(vni, None)
        self._missing.pop(vni, None)
        self._records.forget_vpc(vni)
        self._problems.dropped(vni)
        return view.inputs.keys() if view is not None else frozenset()


def _as_vpcs_see_it(host: HostView) -> HostView:
    """Return a host's view without the fields that no VPC's objects depend on: those for other hosts, and bucket policies."""
    return msgspec.structs.replace(host, ready=False, announces=False, active=False, buckets=())


def _scope(peer: int) -> str:
    """Return the prefix of a peer's addresses in part names: two peers may have the same addresses."""
    return f"{peer:06x}/"


def _objects_or_none(compile_it: Callable[[], Objects]) -> Objects:
    """Return what stands in for a part that failed; nothing if that fails, too. The part's own problem is reported already."""
    try:
        return compile_it()
    except Exception:  # see _problem_of
        return {}


def _problem_of(error: Exception) -> str:
    """Return the error of a compiler, or of the code that made its view, as text.

    Compilers are plug-ins and records come from outside: an exception of any type in one VPC must not stop the others.
    """
    if isinstance(error, MissingRecord | CompileError | UnreadableRecord):
        return str(error)
    return f"it cannot be compiled: {type(error).__name__}: {error}"
