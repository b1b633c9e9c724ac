"""Planning and applying a whole declared cloud.

What a file names is made as it says; in a VPC that it names, what it does not name is deleted. A VPC that it no longer names is
deleted only if it is the file's own (`sources.py`); everybody else's VPCs, and hosts, are left alone. Instances at the top level
of a file live in the default VPC beside others: only those that are the file's own are deleted.

A plan is computed from the store at one revision and holds the very transactions that `apply_cloud` commits; each compares all
that it was decided on, so a cloud that changed meanwhile is noticed. A declared VPC that cannot be made as the file says stays as
it is, and the rest of the file goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from netorch.control.actions.outside.drains import admit
from netorch.control.apply.base.ends import delete_vpc, route_count, vpc_deletion
from netorch.control.apply.base.key_files import KeyFiles, ReadFile, no_files
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
from netorch.control.apply.sources import IsThere, Source, refuse_others, source_of
from netorch.control.apply.vpc import plan_vpc
from netorch.control.base.writes import ABSENT, Writes
from netorch.control.views.describe import resolve
from netorch.control.views.mtus import sharing_after, too_small, unequal
from netorch.errors import ApiError, Conflict, NetorchError, UnreadableRecord
from netorch.model.cloud import DEFAULT_VPC_NAME, Cloud, VpcDecl
from netorch.model.eni import Instance
from netorch.model.vpc import DEFAULT_OWNER
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store

TRIES: Final = 16  # plans, one after the other, until none is overtaken

# The kinds of changes that are no customer's.
_OPERATORS: Final = frozenset({"host", "address-pool", "connection", "gateway-service"})

Progress = Callable[[int, int], None]  # steps done, steps in all
Refused = dict[Path, NetorchError]


def plan_cloud(
    store: Store,
    caller: Caller,
    cloud: Cloud,
    *,
    source: str = "",
    is_there: IsThere = lambda path: True,
    read_file: ReadFile = no_files,
) -> CloudPlan:
    """Return what makes the store's cloud as declared. `cloud` has passed `check_cloud`; writes nothing.

    `source` is the file's absolute path, `is_there` says which files still exist, `read_file` reads those that the file names. A
    file without a path and a name owns nothing, so nothing is ever deleted because it does not name it.

    Raises:
      UnreadableRecord, ApiError: nothing of the file can be done, or something that concerns all of it is wrong, e.g. a host, or
        another owner's VPC. What concerns one VPC only stands in the plan's `stuck`: VpcLimitExceeded, InvalidIPAddress.InUse,
        IncorrectInstanceState for a move of an instance that is moving, DependencyViolation for a subnet with interfaces that a
        file cannot name, an isolated record.
    Cost: O(store + cloud), twice when a VPC is stuck.
    """
    refuse_others(caller, cloud)
    inventory = read_inventory(store)
    planner = _Planner(
        store, inventory, caller, cloud, source_of(caller, cloud.name, source, is_there), KeyFiles(store, read_file)
    )
    refused: Refused = {}
    while more := planner.plan(refused):  # again without them: nothing of a plan may rest on what is not done
        refused |= more
    plan = planner.result(refused)
    if refused and all(change.kind in _OPERATORS for change in plan.changes):
        raise next(iter(refused.values()))
    return plan


def plan_destruction(store: Store, caller: Caller, vpc_ids: Sequence[str]) -> CloudPlan:
    """Return what deletes VPCs with everything in them, whoever made them. Raises ApiError, UnreadableRecord."""
    inventory = read_inventory(store)
    builder = PlanBuilder(inventory, caller, source_of(caller, "", "", lambda path: True), KeyFiles(store, no_files))
    for vpc_id in dict.fromkeys(vpc_ids):
        records, _ = resolve(inventory, caller, "vpc", vpc_id)
        builder.changes.append(vpc_deletion(records))
        delete_vpc(builder, builder.vpcs[records.vni])
    list(builder.namespaces.settle(builder.steps))  # nothing is taken, so nobody is refused
    existing = {"vpc": len(inventory.vpcs)}
    return CloudPlan(revision=inventory.revision, changes=tuple(builder.changes), steps=tuple(builder.steps), existing=existing)


class _Planner:
    """Plans a file, as often as it takes to leave out what cannot be done."""

    def __init__(
        self, store: Store, inventory: Inventory, caller: Caller, cloud: Cloud, source: Source, key_files: KeyFiles
    ) -> None:
        self._store = store
        self._inventory = inventory
        self._caller = caller
        self._cloud = cloud
        self._source = source
        self._key_files = key_files
        self._builder = self._begin()
        self._decls: list[VpcDecl] = []

    def _begin(self) -> PlanBuilder:
        return PlanBuilder(self._inventory, self._caller, self._source, self._key_files, self._cloud.elastic_ips)

    def plan(self, without: Refused) -> Refused:
        """Plan everything but some VPCs; return which others cannot be done, and why."""
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
        replaceable = all(path in stored for path in without)  # else what was to take a deleted VPC's place may be stuck
        freed = self._plan_leftovers(stored) if replaceable else {}
        refused |= self._over_quota(decls, stored, freed)
        freed |= self._plan_replaced(decls, stored)
        new = [decl for decl in decls if (decl.owner, decl.name) not in stored]
        refused |= choose_vnis(builder, self._store, new, freed)
        self._plan_vpcs({(decl.owner, decl.name): decl for decl in decls}, stored, refused)
        try:
            refused |= plan_addresses(builder, [decl for decl in decls if (decl.owner, decl.name) not in refused])
        except ApiError as error:  # nothing of the file is done: all its mistakes are said
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
        """Add what makes VPCs as declared, and what leads from one to another; note which cannot be made so, and why."""
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
        """Return what was planned last."""
        builder, inventory = self._builder, self._inventory
        steps = tuple(writes for writes in builder.steps if writes)
        for writes in steps:
            writes.check_size()
        after = sharing_after(inventory, steps)
        return CloudPlan(
            revision=inventory.revision,
            changes=tuple(builder.changes),
            steps=steps,
            existing={"vpc": len(inventory.vpcs)},
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
        """Return the isolated VPCs that this file declares, or would delete, or has instances in."""
        named = self._named()
        found: Refused = {}
        for isolated in self._inventory.isolated.values():
            path, rest = (isolated.owner, isolated.name), isolated.rest
            own = rest is not None and (self._source.owns(rest.vpc.record.tags) or bool(made_here(self._builder, rest)))
            if (path in named or own) and path not in without and isolated.is_known_to(self._caller):
                found[path] = isolated.error
        return found

    def _plan_leftovers(self, stored: dict[Path, VpcRecords]) -> dict[int, Path]:
        """Add the deletion of VPCs that are this file's own and that it no longer names; return their VNIs."""
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
        """Add the end of VPCs that get another VNI, before any is recreated: two may exchange theirs. Return the old VNIs."""
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
        """Return whose a VPC was and is, once it was recreated."""
        mark = records.vpc.record.tags.get(SOURCE_TAG, "")
        return mark, self._source.after(mark, changed=True)

    def _over_quota(self, decls: list[VpcDecl], stored: dict[Path, VpcRecords], freed: dict[int, Path]) -> Refused:
        """Return the VPCs that their owners may not have, or not as large."""
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
        """Return how many VPCs, instances, routes and elastic IPs there are of those that the file names or made."""
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
    """Plan something of each VPC that can be made so far; note which cannot, and why."""
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

    New edges of pairs are drained by the steps, and then admitted.

    `again` plans again when somebody else has changed the cloud meanwhile. A new plan that does no more than the one that was
    shown is carried out instead: two that change different things do not refuse each other.

    Raises:
      ApiError: OperationNotPermitted for a plan that ends most of what the file has to do with, unless that is allowed.
      Conflict: the cloud was changed since it was planned, and in what the plan is about. What was committed stays, each
        transaction a consistent state; a new plan holds the rest. A new edge of a pair then stays drained.
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
    """Return what a plan does to what, and which attributes of what there is; a new VNI or address is left open."""
    deeds: set[tuple[Action, str, str, Difference | None]] = set()
    for change in plan.changes:
        seen = () if change.action is Action.ADD else change.differences
        deeds |= {(change.action, change.kind, change.path, difference) for difference in (None, *seen)}
    return deeds


def _commit_all(store: Store, plan: CloudPlan) -> Iterator[int]:
    """Commit a plan's steps, as many as fit at a time; yield how many are done. Raises Conflict."""
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
    """Commit some steps; what earlier ones of the same plan wrote is expected at the revision at which they did."""
    for key in writes.expected.keys() & written.keys():
        writes.expected[key] = written[key]
    result = store.txn(writes.compares(), writes.ops())
    if not result.succeeded:
        raise Conflict("store: the cloud was changed since it was planned; plan again")
    for key, value in writes.values.items():
        written[key] = ABSENT if value is None else result.revision
