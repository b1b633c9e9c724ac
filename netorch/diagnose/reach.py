"""Reachability in VPCs, between peers, over the internet and at sites, and its changes between two states: from records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

import msgspec

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.diagnose.policy_indexes import (
    is_routed,
    mapped_peers_of,
    names_of,
    paths_between,
    paths_of,
    peers_of,
    policy_index_of,
)
from netorch.diagnose.reach_outside import Beyond, Outside, joint
from netorch.diagnose.services.reach import Endpoints
from netorch.diagnose.vpn.reach_sites import Sites
from netorch.model.addr import Prefix
from netorch.model.cloud import Cloud
from netorch.model.routing.peering import PeeringConnection
from netorch.model.security import Direction
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from netorch.store.trial import TrialStore
from netorch.trace.paths import DIRECT, Path, Paths
from netorch.trace.reach import ALL_ANSWERS, ALL_DIRECT, EquivalenceClass, Reach, Services, by_answers, texts_of
from netorch.trace.reach import Flows as Open
from netorch.trace.regions import distinct
from netorch.trace.services import Spans, ports_of


class Flows(msgspec.Struct, frozen=True, kw_only=True):
    """Flows that each of some interfaces can open to each of others."""

    vpc: str  # owner/name; of the sources
    version: int
    sources: tuple[str, ...]
    destinations: tuple[str, ...]  # of a peer as owner/vpc/name
    services: tuple[str, ...]  # in command-line syntax, e.g. "tcp 22,443"
    answers: str = ""  # the ports to which answers are allowed, if these are only some: partly open
    through: tuple[str, ...] = ()  # the interfaces that packets pass on their way
    code: str = ""  # why routes drop the packets, if they do: rules permit the flow, but it is not open


class FlowChange(msgspec.Struct, frozen=True, kw_only=True):
    """Flows that are opened, or closed."""

    opened: bool
    flows: Flows


Scope = tuple[str, ...]  # the owner/name of a VPC, or of two peers


class _Flows:
    """The flows within a VPC, or between two peers, with the names of interfaces. A missing VPC has no flows."""

    def __init__(
        self, vpcs: Sequence[VpcRecords], also: Iterable[int] = (), around: Mapping[int, VpcRecords] | None = None
    ) -> None:
        """Index a VPC, or two peers. `around` are visible VPCs, some of which have services for this one."""
        self.of_peers = len(vpcs) > 1
        mapped = _mapped(vpcs)
        self.reach = Reach(policy_index_of(*vpcs, mapped=mapped), also, _paths(vpcs, mapped))
        self.names = {eni_id: name for records in vpcs for eni_id, name in _names(records, self.of_peers).items()}
        self.classes: dict[tuple[str, int], EquivalenceClass] = {}  # by an interface's name and IP version
        outside = Outside(vpcs[0], self.reach) if len(vpcs) == 1 else None
        self.beyond: tuple[Beyond, ...] = ()
        if outside is not None:
            self.beyond = (outside, Sites(vpcs[0], self.reach), Endpoints(vpcs[0], self.reach, around or {}))
        self.public: set[tuple[str, int]] = set()  # the names of interfaces that the internet can address, with an IP version
        for found, members in self.reach.members.items():
            for eni in members:
                self.classes[self.names[eni.id], found.version] = found
                if outside is not None and outside.is_public(eni, found.version):
                    self.public.add((self.names[eni.id], found.version))

    def between(self, source: EquivalenceClass | None, destination: EquivalenceClass | None) -> Open:
        """Return the flows that are open, or partly open. There are none for a missing class."""
        return self.reach.between(source, destination) if source is not None and destination is not None else {}

    def with_region(self, beyond: Beyond, members: Sequence[str], region: Prefix, direction: Direction) -> Open:
        """Return the open flows between similar interfaces and a region beyond the edges."""
        key = members[0], region.version
        found = self.classes.get(key)
        return beyond.between(found, region, direction, public=key in self.public) if found is not None else {}

    def path_to(self, beyond: Beyond, members: Sequence[str], region: Prefix, direction: Direction) -> Path:
        """Return the path between similar interfaces and a region: through a NAT gateway, or the direct one."""
        found = self.classes.get((members[0], region.version))
        if found is None or direction is Direction.INGRESS:
            return DIRECT
        return Path(beyond.through(found, region))

    def path(self, source: EquivalenceClass | None, destination: EquivalenceClass | None) -> Path:
        """Return the path of these packets; the direct one for a missing class."""
        return self.reach.path(source, destination) if source is not None and destination is not None else DIRECT


def _mapped(vpcs: Sequence[VpcRecords]) -> PeeringConnection | None:
    """Return the first VPC's half of the connection between two VPCs, if it maps addresses."""
    if len(vpcs) < 2 or peers_of(vpcs[0], {vpcs[1].vni: vpcs[1]}):
        return None
    return next((half for half, _ in mapped_peers_of(vpcs[0], {vpcs[1].vni: vpcs[1]})), None)


def _paths(vpcs: Sequence[VpcRecords], mapped: PeeringConnection | None) -> Paths:
    if not vpcs:
        return ALL_DIRECT
    if len(vpcs) == 1:
        return paths_of(vpcs[0])
    if mapped is not None:
        return paths_between(mapped.id, *vpcs, mapped=mapped)
    (connection,) = peers_of(vpcs[0], {vpcs[1].vni: vpcs[1]})
    return paths_between(connection, *vpcs)


def _names(records: VpcRecords, with_vpc: bool) -> dict[str, str]:
    """Return the names of interfaces, as owner/vpc/name to distinguish them from a peer's."""
    path = _path(records)
    return {eni_id: f"{path}/{name}" if with_vpc else name for eni_id, name in names_of(records).items()}


def _path(records: VpcRecords) -> str:
    return f"{records.vpc.record.owner}/{records.vpc.record.name}"


def matrix(inventory: Inventory, caller: Caller) -> Iterator[Flows]:
    """Yield all flows that rules permit, of the VPCs that the caller sees, between classes of interfaces.

    They are open, or partly, unless routes drop their packets: then `code` gives the reason. Flows between peers come
    last, if the caller sees both and a route leads to their connection. Flows with the internet are of interfaces with
    public addresses, in VPCs with a gateway, and of those with a route to a NAT gateway. Flows with sites are of
    interfaces with a route to a virtual private gateway.
    """
    visible = _visible(inventory, caller)
    around = _around(visible)
    for scope, vpcs in visible.items():
        found = _Flows(vpcs, around=around)
        reach, names = found.reach, found.names
        for source, destination, permitted in reach.pairs(of_peers=found.of_peers):
            sources, destinations = (tuple(sorted(names[eni.id] for eni in reach.members[end])) for end in (source, destination))
            path = _in_words(reach.path(source, destination), names)
            yield from _told(scope, source.version, sources, destinations, by_answers(permitted, {}), reach.protocols, path)
        for beyond in found.beyond:
            for direction, region, flow in beyond.flows():
                ends = _ends(tuple(sorted(names[eni.id] for eni in flow.members)), beyond.label(region), direction)
                path = Path(flow.through, flow.code)
                yield from _told(scope, region.version, *ends, by_answers(flow.permitted, {}), reach.protocols, path)


def _ends(inside: Sequence[str], label: str, direction: Direction) -> tuple[Sequence[str], Sequence[str]]:
    """Return the sources and destinations of flows with a region beyond the edges."""
    outside = (label,)
    return (inside, outside) if direction is Direction.EGRESS else (outside, inside)


def _told(
    scope: Scope,
    version: int,
    sources: Sequence[str],
    destinations: Sequence[str],
    found: dict[Spans, Services],
    protocols: Iterable[int],
    path: Path,
) -> Iterator[Flows]:
    """Yield flows as texts, open ones before partly open ones."""
    vpc = scope[0]
    if len(scope) > 1:
        vpc = sources[0].rpartition("/")[0]
        sources = [name.rpartition("/")[2] for name in sources]
    for answers, services in found.items():
        yield Flows(
            vpc=vpc,
            version=version,
            sources=tuple(sources),
            destinations=tuple(destinations),
            services=texts_of(services, protocols, version),
            answers="" if answers == ALL_ANSWERS else ports_of(answers),
            through=path.through,
            code=path.code.value if path.code is not None else "",
        )


def _in_words(path: Path, names: Mapping[str, str]) -> Path:
    """Return a path with the names of the interfaces that it passes."""
    return Path(tuple(names[eni_id] for eni_id in path.through), path.code)


def compare(store: Store, caller: Caller, cloud: Cloud, source: str) -> list[FlowChange]:
    """Return the flows that a declared cloud would open and close in the stored one, which does not change.

    Raises:
      ApiError: the cloud cannot be applied.
    """
    trial = TrialStore(store)
    plan = plan_cloud(trial, caller, cloud, source=source, read_file=lambda name: b"any-key")  # the key does not matter
    if plan.stuck:
        raise plan.stuck[0].error
    apply_cloud(trial, plan, allow_mass_delete=True)
    return differences(read_inventory(store), read_inventory(trial), caller)


def differences(old_state: Inventory, new_state: Inventory, caller: Caller) -> list[FlowChange]:
    """Return the flows that are open, or partly open, in only one of two states of the cloud, in the caller's VPCs."""
    before, after = _visible(old_state, caller), _visible(new_state, caller)
    changes: list[FlowChange] = []
    for scope in sorted(before.keys() | after.keys()):
        new = _Flows(after.get(scope, ()))
        old = _Flows(before.get(scope, ()), new.reach.protocols, _around(before))
        new = _Flows(after.get(scope, ()), old.reach.protocols, _around(after))
        changes += [*_changes(scope, old, new), *_outside_changes(scope, old, new)]
    return changes


def _changes(scope: Scope, before: _Flows, after: _Flows) -> Iterator[FlowChange]:
    """Yield the changes in a VPC or between peers, between groups of interfaces that are alike both before and after."""
    joint: dict[tuple[int, EquivalenceClass | None, EquivalenceClass | None], list[str]] = {}
    for member, version in sorted(before.classes.keys() | after.classes.keys()):
        classes = before.classes.get((member, version)), after.classes.get((member, version))
        joint.setdefault((version, *classes), []).append(member)
    for (version, old_source, new_source), sources in joint.items():
        for (other, old_destination, new_destination), destinations in joint.items():
            if other != version or (sources is destinations and len(sources) == 1):
                continue
            if len(scope) > 1 and sources[0].rpartition("/")[0] == destinations[0].rpartition("/")[0]:
                continue  # both in the same VPC
            old, new = before.between(old_source, old_destination), after.between(new_source, new_destination)
            path = _in_words(after.path(new_source, new_destination), after.names)
            for opened, more in ((True, by_answers(new, old)), (False, by_answers(old, new))):
                for flows in _told(scope, version, sources, destinations, more, after.reach.protocols, path):
                    yield FlowChange(opened=opened, flows=flows)


def _outside_changes(scope: Scope, before: _Flows, after: _Flows) -> Iterator[FlowChange]:
    """Yield the changes of flows with the internet and with sites, grouped likewise."""
    alike: dict[tuple[int, EquivalenceClass | None, bool, EquivalenceClass | None, bool], list[str]] = {}
    for key in sorted(before.classes.keys() | after.classes.keys()):
        of = before.classes.get(key), key in before.public, after.classes.get(key), key in after.public
        alike.setdefault((key[1], *of), []).append(key[0])
    for old, new in zip_longest(before.beyond, after.beyond):
        for (version, *_), members in alike.items():
            yield from _beyond_changes(scope, before, after, (old, new), version, members)


def _beyond_changes(
    scope: Scope, before: _Flows, after: _Flows, beyond: tuple[Beyond | None, Beyond | None], version: int, members: Sequence[str]
) -> Iterator[FlowChange]:
    """Yield the changes between two states of flows between similar interfaces and regions beyond the edges."""
    old, new = beyond
    known = old or new
    assert known is not None
    all_regions = joint(*(found.regions for found in beyond if found is not None))
    for direction in (Direction.EGRESS, Direction.INGRESS):
        changes = {}
        for region in (region for region in all_regions if region.version == version):
            was = before.with_region(old, members, region, direction) if old is not None else {}
            is_now = after.with_region(new, members, region, direction) if new is not None else {}
            changes[region] = by_answers(is_now, was), by_answers(was, is_now)
        for region, (more, less) in distinct(changes):
            path = after.path_to(new, members, region, direction) if new is not None else DIRECT
            ends = _ends(members, known.label(region), direction)
            for opened, part in ((True, more), (False, less)):
                for flows in _told(scope, version, *ends, part, after.reach.protocols, path):
                    yield FlowChange(opened=opened, flows=flows)


def _around(visible: Mapping[Scope, tuple[VpcRecords, ...]]) -> dict[int, VpcRecords]:
    """Return the visible VPCs by VNI."""
    return {records.vni: records for vpcs in visible.values() for records in vpcs}


def _visible(inventory: Inventory, caller: Caller) -> dict[Scope, tuple[VpcRecords, ...]]:
    """Return the VPCs that the caller sees, and the pairs of active peers that the caller sees both."""
    seen = {vni: records for vni, records in sorted(inventory.vpcs.items()) if caller.sees(records.vpc.record.owner)}
    found: dict[Scope, tuple[VpcRecords, ...]] = {(_path(records),): (records,) for records in seen.values()}
    for records in seen.values():
        for connection, peer in peers_of(records, seen).items():
            if records.vni < peer.vni and is_routed(connection, records, peer):
                found[_path(records), _path(peer)] = (records, peer)
        for half, peer in mapped_peers_of(records, seen):
            if records.vni < peer.vni and is_routed(half.id, records, peer):
                found.setdefault((_path(records), _path(peer)), (records, peer))
    return found
