"""What compilers see of a VPC: its records, and what this host makes of them.

A view is kept and brought up to date kind by kind: a changed record costs its own kind, and only kinds that some part of a
compiler depends on. `Phase` stands among changed kinds for where the interfaces are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final, TypeVar

from netorch.agent.numbers import Numbers
from netorch.agent.records import Records
from netorch.compiler.base import HostView, Identity, Inlet, LocalEni, LocalTable, Middlebox, Phase, TableRoutes, VpcView
from netorch.compiler.tables import local_tables, table_routes
from netorch.errors import CompileError
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.mapping import Mapping as EniMapping
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.records.middleboxes import Middleboxes
from netorch.records.vpc import MissingRecord, VpcRecords
from netorch.state.names import inlet_name

T = TypeVar("T")
Phases = Mapping[str, Phase]  # of the interfaces that are here


def local_enis(records: VpcRecords, phases: Phases) -> tuple[LocalEni, ...]:
    """Return the interfaces that are here in some phase. Raises MissingRecord."""
    found = []
    for eni_id in sorted(phases):
        eni = _needed(records, NetworkInterface, eni_id)
        subnet, instance = _needed(records, Subnet, eni.subnet), _needed(records, Instance, eni.instance)
        found.append(LocalEni(eni=eni, subnet=subnet, instance=instance, phase=phases[eni_id]))
    return tuple(found)


def _local_tables(records: VpcRecords, phases: Phases) -> tuple[LocalTable, ...]:
    return local_tables(records.vpc.record, _tables_in_use(records, phases))


def _table_routes(records: VpcRecords, phases: Phases) -> tuple[TableRoutes, ...]:
    used = _tables_in_use(records, phases)
    lists = {list_id: stored.record for list_id, stored in records.of(PrefixList).items()}
    targets = {route.target for table in used for route in table.routes}
    return table_routes(records.vpc.record, used, {target for target in targets if _takes_packets(records, target)}, lists)


def _tables_in_use(records: VpcRecords, phases: Phases) -> list[RouteTable]:
    """Return the main table, and those of the subnets of interfaces here.

    Schema 1 of route tables knew neither numbers nor routes. A table of that time is as good as the main one while neither has
    routes, and has no VRF of its own.
    """
    main = records.main_table()
    if main is None:
        raise MissingRecord("the record of the main route table is missing")
    named = {_needed(records, Subnet, _needed(records, NetworkInterface, eni_id).subnet).route_table for eni_id in phases}
    used = [_needed(records, RouteTable, table_id) for table_id in sorted(named - {"", main.id})]
    old = [table for table in used if not table.number]
    if old and any(table.routes for table in (main, *old)):
        what = f"route table {old[0].name} ({old[0].id}) was made by a version that knew no routes, and has no number"
        raise CompileError(f"{what}; associate its subnets with a new table: netorch route-table create")
    found = [main, *(table for table in used if table.number)]
    if len({table.number for table in found}) < len(found):
        raise CompileError(f"two of the route tables {', '.join(table.id for table in found)} have one number; delete one")
    return found


def _takes_packets(records: VpcRecords, target: str) -> bool:
    """Return whether the target of a route is there: an interface that an instance has."""
    eni = records.one(NetworkInterface, target)
    return eni is not None and bool(eni.instance)


def _needed(records: VpcRecords, kind: type[T], resource_id: str) -> T:
    found = records.one(kind, resource_id)
    if found is None:
        raise MissingRecord(f"the record {resource_id} is missing")
    return found


def _by_id(records: VpcRecords, kind: type[T]) -> tuple[T, ...]:
    return tuple(stored.record for _, stored in sorted(records.of(kind).items()))


def middleboxes(
    records: VpcRecords, boxes: Middleboxes, phases: Phases, mtus: Mapping[str, int], inlet_of: Callable[[str], Inlet]
) -> Iterator[Middlebox]:
    """Yield the interfaces that are in both the index and the records. Raises CompileError."""
    for eni_id in boxes.ids():
        eni = records.one(NetworkInterface, eni_id)
        if eni is None:
            continue
        mapping = records.one(EniMapping, eni.address)
        if mapping is not None and mapping.eni != eni_id:
            mapping = None
        is_here = phases.get(eni_id, Phase.INCOMING) is not Phase.INCOMING
        inlet = inlet_of(inlet_name(records.vni, eni_id)) if is_here and boxes.is_target(eni_id) else None
        underlay_mtu = mtus.get(mapping.host) if mapping is not None else None
        yield Middlebox(eni=eni, mapping=mapping, underlay_mtu=underlay_mtu, inlet=inlet)


_OF_TABLES: Final = frozenset({Vpc, Subnet, NetworkInterface, RouteTable, Phase})
# What is made of records and phases: of which kinds, and how. Any other input is all records of its kind.
_MADE: Final[dict[type, tuple[Set[type], Callable[[VpcRecords, Phases], tuple[Any, ...]]]]] = {
    LocalEni: (frozenset({NetworkInterface, Subnet, Instance, Phase}), local_enis),
    LocalTable: (_OF_TABLES, _local_tables),
    TableRoutes: (_OF_TABLES | {PrefixList}, _table_routes),
}


class Views:
    """The views of the VPCs that this host carries."""

    def __init__(self, records: Records, inputs: Set[type], numbers: Numbers) -> None:
        """Make views with these inputs."""
        self.known: dict[int, VpcView] = {}
        self._records = records
        self._numbers = numbers
        self._inputs = inputs - {HostView} | {Vpc, LocalEni}

    def refresh(
        self, vni: int, kinds: Set[type], host: HostView, phases: Phases
    ) -> tuple[VpcView, VpcView | None, frozenset[type]]:
        """Bring a VPC's view up to date with records of these kinds; return it, the one before, and which inputs differ.

        Raises:
          MissingRecord: a record that another one refers to is not there; the view stays as it is.
          CompileError: this host has no more numbers.
        """
        before = self.known.get(vni)
        fresh: dict[type, tuple[Any, ...]] = {HostView: (host,)}
        for kind in self._inputs:
            if before is None or not kinds.isdisjoint(_kinds_of(kind)):
                fresh[kind] = self._values(vni, kind, phases)
        if before is None:
            changed = frozenset(fresh)
        else:
            changed = frozenset(kind for kind, values in fresh.items() if values != before.inputs[kind])
        inputs = {**(before.inputs if before is not None else {}), **fresh}
        zone = self._numbers.zone_of(vni)
        view = VpcView(vni=vni, inputs=inputs, zone=zone, active=_active(inputs), mtus=self._records.peers.mtus)
        self.known[vni] = view
        return view, before, changed

    def _values(self, vni: int, kind: type, phases: Phases) -> tuple[Any, ...]:
        records = self._records.vpcs[vni]
        if kind is Identity:
            return tuple(sorted(map(Identity, self._records.groups_of(vni))))
        if kind is Middlebox:
            boxes, mtus = self._records.middleboxes_of(vni), self._records.peers.mtus
            return tuple(middleboxes(records, boxes, phases, mtus, self._numbers.inlet))
        return _MADE[kind][1](records, phases) if kind in _MADE else _by_id(records, kind)

    def forget(self, vni: int) -> VpcView | None:
        """Forget a VPC that is no longer carried; return its last view."""
        return self.known.pop(vni, None)


def _kinds_of(made: type) -> Set[type]:
    """Return the kinds of records that an input is made of; `Middlebox` stands for all that its index is made of."""
    if made is Middlebox:
        return {Middlebox, Phase}
    return _MADE[made][0] if made in _MADE else {made}


def _active(inputs: Mapping[type, tuple[Any, ...]]) -> frozenset[str]:
    local: tuple[LocalEni, ...] = inputs.get(LocalEni, ())
    return frozenset(address for item in local if item.phase is not Phase.INCOMING for address in item.eni.addresses)
