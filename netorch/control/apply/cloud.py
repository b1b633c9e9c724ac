"""Plan and apply a whole declared cloud.

The plan makes what a file names as declared. In a VPC that the file names, it deletes the rest. A VPC that the file no longer
names is deleted only if the file owns it (`sources.py`); other VPCs, and hosts, are left alone. Instances at the top level of a
file share the default VPC with others: only those that the file owns are deleted.

A plan is computed from the store at one revision and holds the transactions that `apply_cloud` commits. Each compares
everything that it depends on, so it fails if the cloud changed meanwhile. A declared VPC that cannot be planned stays
unchanged, and the rest of the file is applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from netorch.control.actions.outside.drains import admit
from netorch.control.apply.base.ends import delete_vpc, route_count, vpc_deletion
from netorch.control.apply.base.key_files import KeyFiles, ReadFile, no_files
from netorch.control.apply.base.reading import hints, owners_of, read_around, read_for
from netorch.control.apply.base.room import check_quotas
from netorch.control.apply.base.vnis import choose_vnis
from netorch.control.apply.builder import Path, PlanBuilder
from netorch.control.apply.changes import Action, CloudPlan, Difference, Left, Stuck, differences
from netorch.control.apply.default_vpc import made_here, with_default_instances
from netorch.control.apply.direct_connect.connections import plan_connections, settle_connections
from netorch.control.apply.endpoints.buckets import plan_buckets
from netorch.control.apply.endpoints.interface import add_endpoints, delete_endpoints
from netorch.control.apply.endpoints.offered import delete_services, plan_accepted
from netorch.control.apply.endpoints.services import plan_services
from netorch.control.apply.hosts import plan_hosts
from netorch.control.apply.outside.addresses import left_elastic_ips, of_vpcs, own_elastic_ips, plan_addresses, together
from netorch.control.apply.outside.pools import plan_pools, pool_notes
from netorch.control.apply.peerings import plan_peerings
from netorch.control.apply.private.devices import plan_devices, settle_devices
from netorch.control.apply.services.dhcp_options import plan_sets, settle_sets
from netorch.control.apply.services.zones import plan_zones
from netorch.control.apply.sources import IsThere, PlaceOf, Source, refuse_others, source_of, unplaced
from netorch.control.apply.vpc import plan_vpc
from netorch.control.base.writes import ABSENT, Writes
from netorch.control.views.describe import resolve
from netorch.control.views.mtus import sharing_after, too_small, unequal
from netorch.errors import ApiError, Conflict, NetorchError, UnreadableRecord
from netorch.model.cloud import DEFAULT_VPC_NAME, Cloud, VpcDecl
from netorch.model.eni import Instance
from netorch.model.vpc import DEFAULT_OWNER
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.names import vnis_of
from netorch.records.read import seen_vpc
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

TRIES: Final = 16  # consecutive plans until one is not overtaken

# The kinds of changes that only the operator makes.
_OPERATORS: Final = frozenset({"host", "address-pool", "connection", "gateway-service"})

Progress = Callable[[int, int], None]  # steps done, total steps
Refused = dict[Path, NetorchError]


def plan_cloud(
    store: Store,
    caller: Caller,
    cloud: Cloud,
    *,
    source: str = "",
    is_there: IsThere = lambda path: True,
    place_of: PlaceOf = unplaced,
    read_file: ReadFile = no_files,
) -> CloudPlan:
    """Plan how to make the store's cloud as declared. `cloud` has passed `check_cloud`; nothing is written.

    `source` is the file's absolute path, `is_there` tells which files still exist, and `read_file` reads files that the file
    names. `place_of` is for errors. A file without a path and a name owns nothing, so it deletes nothing that it does not name.

    Raises:
      UnreadableRecord, ApiError: nothing in the file can be applied, or an error concerns all of it, e.g. a host or another
        owner's VPC. Errors of single VPCs are in the plan's `stuck`: VpcLimitExceeded, InvalidIPAddress.InUse,
        IncorrectInstanceState for a move of a moving instance, DependencyViolation for a subnet with interfaces that a file
        cannot name, an isolated record.
    Cost: O(cloud + what `read_for` reads), twice if a VPC is stuck.
    """
    refuse_others(caller, cloud)
    file = source_of(caller, cloud.name, source, is_there, place_of)
    inventory = read_for(store, caller, cloud, file)
    planner = _Planner(store, inventory, caller, cloud, file, KeyFiles(store, read_file))
    refused: Refused = {}
    while more := planner.plan(refused):  # plan again without the stuck VPCs, so that nothing in the plan depends on them
        refused |= more
    plan = planner.result(refused)
    if refused and all(change.kind in _OPERATORS for change in plan.changes):
        raise next(iter(refused.values()))
    return plan


def plan_destruction(store: Store, caller: Caller, vpc_ids: Sequence[str]) -> CloudPlan:
    """Plan the deletion of VPCs with everything in them, whoever made them. Raises ApiError, UnreadableRecord."""
    vnis = {vni for vpc_id in vpc_ids for vni in vnis_of(store, caller, "vpc", vpc_id)}
    owners = {found.record.owner for vni in vnis if (found := seen_vpc(store, caller, vni)) is not None}
    inventory = read_around(store, owners)
    builder = PlanBuilder(inventory, caller, source_of(caller, "", "", lambda path: True), KeyFiles(store, no_files))
    for vpc_id in dict.fromkeys(vpc_ids):
        records, _ = resolve(inventory, caller, "vpc", vpc_id)
        builder.changes.append(vpc_deletion(records))
        delete_vpc(builder, builder.vpcs[records.vni])
    list(builder.namespaces.settle(builder.steps))  # no namespace is taken, so no step is refused
    return CloudPlan(revision=inventory.revision, changes=tuple(builder.changes), steps=tuple(builder.steps))


class _Planner:
    """Plans a file, again without the stuck VPCs until the plan is complete."""

    def __init__(
        self, store: Store, inventory: Inventory, caller: Caller, cloud: Cloud, source: Source, key_files: KeyFiles
    ) -> None:
        self._store, self._inventory, self._caller = store, inventory, caller
        self._cloud, self._source, self._key_files = cloud, source, key_files
        self._builder = self._begin()
        self._decls: list[VpcDecl] = []

    def _begin(self) -> PlanBuilder:
        return PlanBuilder(self._inventory, self._caller, self._source, self._key_files, self._cloud.elastic_ips)

    def plan(self, without: Refused) -> Refused:
        """Plan everything except some VPCs; return the other stuck VPCs and their errors."""
        builder = self._builder = self._begin()
        stored = {(records.vpc.record.owner, records.vpc.record.name): records for records in builder.vpcs.values()}
        plan_hosts(builder, self._cloud.hosts)
        plan_pools(builder, self._cloud.address_pools)
        plan_connections(builder, self._cloud.connections)
        plan_services(builder, self._cloud.gateway_services, list(stored.values()))
        plan_buckets(builder, self._cloud.buckets)
        plan_devices(builder, self._cloud.customer_gateways)
        plan_sets(builder, self._cloud.dhcp_options)
        self._decls = with_default_instances(builder, self._cloud, stored.get((DEFAULT_OWNER, DEFAULT_VPC_NAME)))
        decls = [decl for decl in self._decls if (decl.owner, decl.name) not in without]
        refused: Refused = self._unreadable(without)
        replaceable = all(path in stored for path in without)  # else a VPC that replaces a deleted one may be stuck
        freed = self._plan_leftovers(stored) if replaceable else {}
        refused |= self._over_quota(decls, stored, freed)
        freed |= self._plan_replaced(decls, stored)
        new = [decl for decl in decls if (decl.owner, decl.name) not in stored]
        refused |= choose_vnis(builder, self._store, new, freed)
        self._plan_vpcs({(decl.owner, decl.name): decl for decl in decls}, stored, refused)
        try:
            refused |= plan_addresses(builder, [decl for decl in decls if (decl.owner, decl.name) not in refused])
        except ApiError as error:  # nothing in the file is applied: report all its errors
            raise together(error, *of_vpcs(refused)) from error
        plan_zones(builder, self._cloud.private_zones, without.keys() | refused.keys())
        settle_connections(builder, self._cloud.connections)
        settle_devices(builder, self._cloud.customer_gateways)
        settle_sets(builder, self._cloud.dhcp_options)
        for vni, taken in builder.namespaces.settle(builder.steps):
            path = next(path for path, records in builder.planned.items() if records.vni == vni)
            refused.setdefault(path, taken)
        return refused

    def _plan_vpcs(self, decls: dict[Path, VpcDecl], stored: dict[Path, VpcRecords], refused: Refused) -> None:
        """Plan the VPCs as declared, and the links between them; note the stuck ones and their errors."""
        builder = self._builder
        for delete in (delete_endpoints, delete_services):
            known = (path for path in decls if path in stored)
            _each(((path, partial(delete, builder, decls[path], stored[path])) for path in known), refused)
        rest: dict[Path, Callable[[], None]] = {}

        def plan(path: Path) -> None:
            rest[path] = plan_vpc(builder, decls[path], stored.get(path))

        _each(((path, partial(plan, path)) for path in decls), refused)
        refused |= plan_peerings(builder, [decl for path, decl in decls.items() if path not in refused])
        _each(rest.items(), refused)
        for add in (add_endpoints, plan_accepted):
            _each(((path, partial(add, builder, decls[path], builder.planned[path])) for path in rest), refused)

    def result(self, refused: Refused) -> CloudPlan:
        """Return the last plan."""
        builder, inventory = self._builder, self._inventory
        noted = hints(self._store, self._source, owners_of(self._cloud)) if builder.changes else []
        steps = (*noted, *(writes for writes in builder.steps if writes))
        for writes in steps:
            writes.check_size()
        after = sharing_after(inventory, steps)
        return CloudPlan(
            revision=inventory.revision,
            changes=tuple(builder.changes),
            steps=steps,
            joined=tuple(builder.joined),
            own=self._own(),
            source=self._source.label,
            made_keys=builder.made_keys,
            notes=(*unequal(after, inventory.mtus), *too_small(after, inventory.mtus), *pool_notes(builder), *builder.notes),
            stuck=tuple(Stuck(path="/".join(path), error=error) for path, error in refused.items()),
            left=tuple(self._left()),
        )

    def _named(self) -> set[Path]:
        return {(decl.owner, decl.name) for decl in self._decls}

    def _unreadable(self, without: Refused) -> Refused:
        """Return the isolated VPCs that this file declares, would delete, or has instances in."""
        named = self._named()
        found: Refused = {}
        for isolated in self._inventory.isolated.values():
            path, rest = (isolated.owner, isolated.name), isolated.rest
            own = rest is not None and (self._source.owns(rest.vpc.record.tags) or bool(made_here(self._builder, rest)))
            if (path in named or own) and path not in without and isolated.is_known_to(self._caller):
                found[path] = isolated.error
        return found

    def _plan_leftovers(self, stored: dict[Path, VpcRecords]) -> dict[int, Path]:
        """Add the deletion of VPCs that this file owns and no longer names; return their VNIs."""
        freed = {}
        named = self._named()
        for path, records in list(stored.items()):
            vpc = records.vpc.record
            if path in named or not self._source.owns(vpc.tags) or not self._caller.sees(vpc.owner):
                continue
            self._builder.changes.append(vpc_deletion(records))
            delete_vpc(self._builder, records)
            freed[records.vni] = path
            del stored[path]
        return freed

    def _plan_replaced(self, decls: list[VpcDecl], stored: dict[Path, VpcRecords]) -> dict[int, Path]:
        """Add the deletion of VPCs that get another VNI, before any is recreated: two may swap VNIs. Return the old VNIs."""
        freed = {}
        for decl in decls:
            path = (decl.owner, decl.name)
            records = stored.get(path)
            if records is None or decl.vni is None or decl.vni == records.vni:
                continue
            delete_vpc(self._builder, records)
            why = differences(vni=(records.vni, decl.vni), source=self._passed(records))
            self._builder.replaced[path] = vpc_deletion(records, Action.REPLACE, why)
            freed[records.vni] = path
            del stored[path]
        return freed

    def _passed(self, records: VpcRecords) -> tuple[str, str]:
        """Return the mark of a VPC before and after it is recreated."""
        mark = records.vpc.record.tags.get(SOURCE_TAG, "")
        return mark, self._source.after(mark, changed=True)

    def _over_quota(self, decls: list[VpcDecl], stored: dict[Path, VpcRecords], freed: dict[int, Path]) -> Refused:
        """Return the VPCs that exceed their owners' quotas by number or size."""
        totals = Counter(records.vpc.record.owner for records in self._inventory.vpcs.values())
        totals.update(found.owner for found in self._inventory.isolated.values())
        totals.subtract(owner for owner, _ in freed.values())
        refused: Refused = {}
        for decl in decls:
            new = (decl.owner, decl.name) not in stored
            try:
                check_quotas(self._builder, decl, stored.get((decl.owner, decl.name)), totals[decl.owner])
            except (ApiError, UnreadableRecord) as error:
                refused[decl.owner, decl.name] = error
            else:
                totals[decl.owner] += new
        return refused

    def _own(self) -> dict[str, int]:
        """Return the numbers of VPCs, instances, routes and elastic IPs that the file names or owns."""
        named = self._named()
        counts = {"vpc": 0, "instance": 0, "route": 0, "elastic-ip": len(own_elastic_ips(self._builder))}
        for records in self._inventory.vpcs.values():
            vpc = records.vpc.record
            if self._builder.default_instances_only(vpc.owner, vpc.name):
                counts["instance"] += len(made_here(self._builder, records) | (self._builder.default_instances & _names(records)))
            elif (vpc.owner, vpc.name) in named or self._source.owns(vpc.tags):
                counts["vpc"] += 1
                counts["instance"] += len(records.of(Instance))
                counts["route"] += route_count(records)
        return counts

    def _left(self) -> list[Left]:
        """Return what the caller sees and this file leaves alone."""
        changed = {(change.owner, change.vpc or change.name) for change in self._builder.changes}
        named = self._named()
        found = []
        for records in self._inventory.vpcs.values():
            vpc = records.vpc.record
            path = (vpc.owner, vpc.name)
            if not self._caller.sees(vpc.owner):
                continue
            mark = vpc.tags.get(SOURCE_TAG, "")
            lodgings = vpc.name == DEFAULT_VPC_NAME and vpc.owner == DEFAULT_OWNER
            if path not in named and not self._source.owns(vpc.tags) and not lodgings:
                found.append(self._left_one("vpc", "/".join(path), mark, declared=False))
            elif path in named and mark and path not in changed and not self._source.owns(vpc.tags):
                found.append(self._left_one("vpc", "/".join(path), mark, declared=True))
            for stored in records.of(Instance).values() if lodgings else ():
                mark = stored.record.tags.get(SOURCE_TAG, "")
                if mark and not self._source.owns(stored.record.tags):
                    name = stored.record.name
                    found.append(
                        self._left_one(
                            "instance", "/".join((*path, name)), mark, declared=name in self._builder.default_instances
                        )
                    )
        return found + [self._left_one("elastic-ip", *found, declared=False) for found in left_elastic_ips(self._builder)]

    def _left_one(self, kind: str, path: str, mark: str, *, declared: bool) -> Left:
        return Left(kind=kind, path=path, source=mark, lost=self._source.is_lost(mark), declared=declared)


def _each(steps: Iterable[tuple[Path, Callable[[], None]]], refused: Refused) -> None:
    """Run a planning step for each VPC that is not stuck; note the new stuck ones and their errors."""
    for path, plan in steps:
        try:
            if path not in refused:
                plan()
        except (ApiError, UnreadableRecord) as error:
            refused[path] = error


def _names(records: VpcRecords) -> set[str]:
    return {stored.record.name for stored in records.of(Instance).values()}


def apply_cloud(
    store: Store,
    plan: CloudPlan,
    progress: Progress | None = None,
    *,
    allow_mass_delete: bool = False,
    again: Callable[[], CloudPlan] | None = None,
) -> int:
    """Commit a plan, and return how many transactions its steps took; 0 for a plan without changes.

    The steps drain new edges of pairs. Then these edges are admitted.

    `again` plans again if another writer has changed the cloud meanwhile. The new plan is applied if it does no more than the
    plan that was shown: so two writers with different changes do not refuse each other.

    Raises:
      ApiError: OperationNotPermitted for a plan that ends most of the file's resources, unless that is allowed.
      Conflict: the cloud was changed since it was planned, in what the plan depends on. Committed transactions stay, each of
        which leads to a consistent state; a new plan holds the rest. A new edge of a pair then stays drained.
    """
    mass = plan.mass_deletion()
    if mass and not allow_mass_delete:
        raise ApiError("OperationNotPermitted", f"cloud: {mass}")
    agreed, stuck = _deeds(plan), {found.path for found in plan.stuck}
    commits, joined = 0, plan.joined
    for left in reversed(range(TRIES)):
        try:
            for done in _commit_all(store, plan):
                commits += 1
                if progress is not None:
                    progress(done, len(plan.steps))
            break
        except Conflict:
            if again is None or not left:
                raise
            plan = again()
            joined += plan.joined
            if not (_deeds(plan) <= agreed and {found.path for found in plan.stuck} <= stuck):
                raise
    for edge in dict.fromkeys(joined):
        admit(store, edge)
    return commits


def _deeds(plan: CloudPlan) -> set[tuple[Action, str, str, Difference | None]]:
    """Return the actions of a plan, with the changed attributes of existing resources; a new VNI or address may vary."""
    deeds: set[tuple[Action, str, str, Difference | None]] = set()
    for change in plan.changes:
        seen = () if change.action is Action.ADD else change.differences
        deeds |= {(change.action, change.kind, change.path, difference) for difference in (None, *seen)}
    return deeds


def _commit_all(store: Store, plan: CloudPlan) -> Iterator[int]:
    """Commit a plan's steps, as many at a time as fit; yield the number of committed steps. Raises Conflict."""
    written: dict[str, int] = {}
    done, total = 0, len(plan.steps)
    while done < total:
        writes = Writes()
        first = done
        while done < total and (done == first or writes.takes(plan.steps[done])):
            writes.absorb(plan.steps[done])
            done += 1
        _commit(store, writes, written)
        yield done


def _commit(store: Store, writes: Writes, written: dict[str, int]) -> None:
    """Commit some steps; keys written by earlier steps of the plan are expected at the revision of that write."""
    for key in writes.expected.keys() & written.keys():
        writes.expected[key] = written[key]
    result = store.txn(writes.compares(), writes.ops())
    if not result.succeeded:
        raise Conflict("store: the cloud was changed since it was planned; plan again")
    for key, value in writes.values.items():
        written[key] = ABSENT if value is None else result.revision
