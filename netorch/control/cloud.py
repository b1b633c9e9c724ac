"""Planning and applying a whole declared cloud.

What a file names is made as it says; in a VPC that it names, what it does not name is deleted. A VPC that it no longer names is
deleted only if the same file (`source`) made it; everybody else's VPCs, and hosts, are left alone. Instances at the top level
of a file live in the default VPC beside others: only those that the same file made are deleted.

A plan is computed from the store at one revision and holds the very transactions that `apply_cloud` commits; each compares all
that it was decided on, so a cloud that changed meanwhile is noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from netorch.control import hosts as host_actions
from netorch.control.caller import Caller
from netorch.control.changes import Action, Change, CloudPlan, differences
from netorch.control.draft import Draft, delete_vpc, vpc_deletion
from netorch.control.export import export_vpc
from netorch.control.hosts import HostState
from netorch.control.mtus import sharing_after, too_small, unequal
from netorch.control.plan_vpc import plan_vpc
from netorch.control.read import VpcRecords, read_inventory
from netorch.control.refuse import over_quota
from netorch.control.vpcs import wished_vni
from netorch.control.writes import ABSENT, Writes
from netorch.errors import ApiError, Conflict
from netorch.model import keys
from netorch.model.check import default_vpc
from netorch.model.cloud import DEFAULT_OWNER, DEFAULT_SUBNET_NAME, DEFAULT_VPC_NAME, Cloud, HostDecl, InstanceDecl, VpcDecl
from netorch.model.valid import SOURCE_TAG
from netorch.store.alloc import find_vnis
from netorch.store.base import Store
from netorch.store.rules import MAX_OPS

Progress = Callable[[int, int], None]  # steps done, steps in all


def plan_cloud(store: Store, caller: Caller, cloud: Cloud, *, source: str = "") -> CloudPlan:
    """Return what makes the store's cloud as declared. `cloud` has passed `check_cloud`; writes nothing.

    `source` says which file this is, e.g. its absolute path; without one, no VPC is ever deleted.

    Raises:
      UnreadableRecord: the cloud declares a VPC or host in quarantine, or would delete one.
      ApiError: something cannot be done, e.g. UnauthorizedOperation for another owner's VPC, VpcLimitExceeded,
        InvalidIPAddress.InUse, IncorrectInstanceState for a move of an instance that is moving, DependencyViolation for a subnet
        with interfaces that a file cannot name.
    Cost: O(store + cloud).
    """
    for decl in cloud.vpcs:
        if not caller.sees(decl.owner):
            text = f"VPC {decl.owner}/{decl.name}: is not yours; leave it out, or let its owner or the operator apply it"
            raise ApiError("UnauthorizedOperation", text)
    inventory = read_inventory(store)
    draft = Draft(inventory, caller, source)
    stored = {(records.vpc.record.owner, records.vpc.record.name): records for records in inventory.vpcs.values()}
    decls = _with_lodgers(draft, cloud, stored.get((DEFAULT_OWNER, DEFAULT_VPC_NAME)))
    _check_readable(draft, cloud.hosts, decls)
    _plan_hosts(draft, cloud.hosts)
    _plan_leftovers(draft, decls)
    _check_quotas(draft, decls)
    _take_vnis(draft, store, decls, stored)
    for decl in decls:
        plan_vpc(draft, decl, stored.get((decl.owner, decl.name)))
    draft.namespaces.settle(draft.steps)
    existing = {"vpc": len(stored), "instance": sum(len(records.instances) for records in stored.values())}
    steps = tuple(writes for writes in draft.steps if writes)
    after = sharing_after(inventory, steps)
    notes = (*unequal(after, inventory.mtus), *too_small(after, inventory.mtus))
    return CloudPlan(revision=inventory.revision, changes=tuple(draft.changes), steps=steps, existing=existing, notes=notes)


def _check_readable(draft: Draft, hosts: list[HostDecl], decls: list[VpcDecl]) -> None:
    """Raise UnreadableRecord when this file has to do with something in quarantine."""
    inventory = draft.inventory
    for host in hosts:
        inventory.check_host(host.name)
    named = {(decl.owner, decl.name) for decl in decls}
    for vni, found in inventory.quarantined.items():
        if (found.owner, found.name) in named or (found.rest is not None and _of_this_file(draft, found.rest)):
            inventory.check_vpc(draft.caller, vni)


def _of_this_file(draft: Draft, records: VpcRecords) -> bool:
    """Return whether this file made a VPC, or an instance in it at its top level."""
    return bool(draft.source) and (records.vpc.record.tags.get(SOURCE_TAG) == draft.source or bool(_made_here(draft, records)))


def _plan_hosts(draft: Draft, decls: list[HostDecl]) -> None:
    vteps = {state.host.underlay: name for name, state in draft.hosts.items()}
    for decl in decls:
        host = host_actions.make_host(name=decl.name, underlay=decl.underlay, role=decl.role, tags=decl.tags)
        state = draft.hosts.get(decl.name)
        if not draft.caller.operator and (state is None or state.host != host):
            text = f"host {host.name!r}: hosts are the operator's; leave it out, or let the operator apply it"
            raise ApiError("UnauthorizedOperation", text)
        other = vteps.setdefault(host.underlay, decl.name)
        if other != decl.name:
            text = f"host {decl.name!r}: the underlay address {host.underlay} is host {other!r}'s; give each host its own"
            raise ApiError("InvalidParameterValue", text)
        if state is None:
            host_actions.create_writes(draft.step(), host)
            draft.hosts[host.name] = HostState(host=host, mod_revision=ABSENT)
            added = differences(underlay=("", host.underlay), role=("", host.role.value))
            draft.changes.append(Change(action=Action.ADD, kind="host", name=host.name, differences=added))
        elif (state.host.underlay, state.host.role) != (host.underlay, host.role):
            text = f"host {host.name!r}: is a {state.host.role.value} at {state.host.underlay}, and neither can be changed"
            raise ApiError("InvalidParameterValue", f"{text}; delete the host and make it anew, or name another one")
        elif state.host.tags != host.tags:
            draft.step().change(keys.host_spec(host.name), state.mod_revision, host)
            changed = differences(tags=(state.host.tags, host.tags))
            draft.changes.append(Change(action=Action.CHANGE, kind="host", name=host.name, differences=changed))


def _with_lodgers(draft: Draft, cloud: Cloud, stored: VpcRecords | None) -> list[VpcDecl]:
    """Return the declared VPCs, with the instances of the top level in the default one."""
    for index, decl in enumerate(cloud.vpcs):
        if decl.owner == DEFAULT_OWNER and decl.name == DEFAULT_VPC_NAME:
            merged = msgspec.structs.replace(decl, instances=[*decl.instances, *cloud.instances])
            return [*cloud.vpcs[:index], merged, *cloud.vpcs[index + 1 :]]
    draft.lodgers = {decl.name for decl in cloud.instances}
    if stored is None:
        lodgings = [msgspec.structs.replace(default_vpc(), instances=cloud.instances)] if cloud.instances else []
        return [*cloud.vpcs, *lodgings]
    if not cloud.instances and not (draft.source and _made_here(draft, stored)):
        return cloud.vpcs
    return [*cloud.vpcs, _lodgings(draft, stored, cloud.instances)]


def _made_here(draft: Draft, records: VpcRecords) -> set[str]:
    """Return the names of a VPC's instances that this file made at its top level."""
    found = (stored.record for stored in records.instances.values())
    return {instance.name for instance in found if draft.source and instance.tags.get(SOURCE_TAG) == draft.source}


def _lodgings(draft: Draft, stored: VpcRecords, lodgers: list[InstanceDecl]) -> VpcDecl:
    """Return the default VPC as it is stored, but for the instances that this file has at its top level."""
    as_stored = export_vpc(stored)
    own = _made_here(draft, stored) | draft.lodgers
    others = [decl for decl in as_stored.instances if decl.name not in own]
    fallback = DEFAULT_SUBNET_NAME if len(as_stored.subnets) > 1 else ""
    placed = [msgspec.structs.replace(decl, subnet=decl.subnet or fallback) for decl in lodgers]
    return msgspec.structs.replace(as_stored, instances=others + placed)


def _plan_leftovers(draft: Draft, decls: list[VpcDecl]) -> None:
    """Add the deletion of VPCs that this file made and no longer names."""
    if not draft.source:
        return
    named = {(decl.owner, decl.name) for decl in decls}
    for records in draft.inventory.vpcs.values():
        vpc = records.vpc.record
        if vpc.tags.get(SOURCE_TAG) != draft.source or (vpc.owner, vpc.name) in named or not draft.caller.sees(vpc.owner):
            continue
        draft.changes.append(vpc_deletion(records))
        delete_vpc(draft, records)


def _check_quotas(draft: Draft, decls: list[VpcDecl]) -> None:
    quotas = {decl.owner: draft.quotas_of(decl.owner) for decl in decls}
    totals = Counter(records.vpc.record.owner for records in draft.inventory.vpcs.values())
    totals.update(found.owner for found in draft.inventory.quarantined.values())
    known = {(records.vpc.record.owner, records.vpc.record.name) for records in draft.inventory.vpcs.values()}
    for change in draft.changes:
        totals[change.owner] -= change.kind == "vpc"  # a deletion: nothing else is planned yet
    for decl in decls:
        limits = quotas[decl.owner]
        where = f"VPC {decl.owner}/{decl.name}"
        totals[decl.owner] += (decl.owner, decl.name) not in known
        if totals[decl.owner] > limits.vpcs:
            raise over_quota("VpcLimitExceeded", f"owner {decl.owner}", limits.vpcs, "VPCs")
        if max(len(decl.cidrs), len(decl.ipv6_cidrs)) > limits.cidrs_per_vpc:
            raise over_quota("CidrLimitExceeded", where, limits.cidrs_per_vpc, "CIDRs")
        if len(decl.subnets) > limits.subnets_per_vpc:
            raise over_quota("SubnetLimitExceeded", where, limits.subnets_per_vpc, "subnets")
        if len(decl.route_tables) + 1 > limits.route_tables_per_vpc:
            raise over_quota("RouteTableLimitExceeded", where, limits.route_tables_per_vpc, "route tables")
        if len(decl.instances) > limits.interfaces_per_vpc:
            raise over_quota("NetworkInterfaceLimitExceeded", where, limits.interfaces_per_vpc, "network interfaces")


def _take_vnis(draft: Draft, store: Store, decls: list[VpcDecl], stored: dict[tuple[str, str], VpcRecords]) -> None:
    """Choose the VNIs of the VPCs that are to be made, wished ones first."""
    new = []
    for decl in decls:
        records = stored.get((decl.owner, decl.name))
        if records is None or (decl.vni is not None and decl.vni != records.vni):
            new.append(decl)
    if not new:
        return
    wishes = {
        decl.vni: wished_vni(store, draft.caller, f"VPC {decl.owner}/{decl.name}", decl.vni)
        for decl in new
        if decl.vni is not None
    }
    if len(wishes) < len(new):
        block = find_vnis(store, len(new), draft.caller.now())  # as many again as are wished for, which may be among them
        draft.step().claim(block.advance)
        free = iter([found for found in block.free if found.vni not in wishes])
    else:
        free = iter(())
    draft.vnis = [wishes[decl.vni] if decl.vni is not None else next(free) for decl in new]


def apply_cloud(store: Store, plan: CloudPlan, progress: Progress | None = None, *, allow_mass_delete: bool = False) -> int:
    """Commit a plan, and return how many transactions that took; 0 for a plan without changes.

    Raises:
      ApiError: OperationNotPermitted for a plan that deletes most of the cloud, unless that is allowed.
      Conflict: the cloud was changed since it was planned. What was committed stays, each transaction a consistent state; a new
        plan holds the rest.
    """
    mass = plan.mass_deletion()
    if mass and not allow_mass_delete:
        text = f"cloud: the plan deletes {mass}; if that is meant, allow it with --allow-mass-delete"
        raise ApiError("OperationNotPermitted", text)
    commits = 0
    written: dict[str, int] = {}
    done, total = 0, len(plan.steps)
    while done < total:
        writes = Writes()
        first = done
        while done < total and (done == first or writes.size_with(plan.steps[done]) <= MAX_OPS):
            writes.absorb(plan.steps[done])
            done += 1
        _commit(store, writes, written)
        commits += 1
        if progress is not None:
            progress(done, total)
    return commits


def _commit(store: Store, writes: Writes, written: dict[str, int]) -> None:
    """Commit some steps; what earlier ones of the same plan wrote is expected at the revision at which they did."""
    for key in writes.expected.keys() & written.keys():
        writes.expected[key] = written[key]
    result = store.txn(writes.compares(), writes.ops())
    if not result.succeeded:
        raise Conflict("store: the cloud was changed since it was planned; plan again")
    for key, value in writes.values.items():
        written[key] = ABSENT if value is None else result.revision
