"""Plan the operator's services as a file declares them. Like hosts, a file never deletes them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netorch.control.actions.endpoints.services import operator_only, renew_writes
from netorch.control.apply.builder import PlanBuilder
from netorch.control.apply.changes import Action, Change, differences, member_differences
from netorch.control.base.endpoints.gateway import refuse_own_ranges, service_mark, service_prefixes
from netorch.control.base.ranges import change_pools, refuse_services, refuse_taken
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.addr import parse_prefix
from netorch.model.endpoints.declared import GatewayServiceDecl
from netorch.model.endpoints.endpoint import GatewayService
from netorch.model.endpoints.endpoint_rules import own_names
from netorch.model.eni import Role
from netorch.model.ids import vni_of
from netorch.model.security import PrefixList
from netorch.records import keys
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords


def plan_services(builder: PlanBuilder, decls: Sequence[GatewayServiceDecl], vpcs: Sequence[VpcRecords]) -> None:
    """Add new services and changes; hosts and pools are planned. `vpcs` are all VPCs; their prefix lists are updated.

    Raises:
      ApiError: UnauthorizedOperation; InvalidParameterValue for a prefix that overlaps another service's, an address pool, a
        host, or a range of a VPC that uses the service.
      UnreadableRecord: a VPC that uses a service cannot be read, and the service's prefixes change.
    """
    for decl in decls:
        operator_only(builder.caller, _where(decl.name))
        prefixes = service_prefixes(_where(decl.name), decl.prefixes)
        wanted = GatewayService(
            name=decl.name,
            prefixes=prefixes,
            upstream=decl.upstream,
            tls=decl.tls,
            hosts=own_names(decl.name, decl.hosts),
            tags=decl.tags,
        )
        stored = builder.services.get(decl.name)
        if stored is None or not _is(stored.record, wanted):
            _plan(builder, stored, wanted, vpcs)


def _where(name: str) -> str:
    return f"service {name!r}"


def _is(stored: GatewayService, wanted: GatewayService) -> bool:
    """Return whether a service is as declared; the order of its names does not matter."""
    return msgspec.structs.replace(stored, hosts=tuple(sorted(stored.hosts))) == msgspec.structs.replace(
        wanted, hosts=tuple(sorted(wanted.hosts))
    )


def _plan(
    builder: PlanBuilder, stored: Stored[GatewayService] | None, wanted: GatewayService, vpcs: Sequence[VpcRecords]
) -> None:
    known = stored.record.prefixes if stored is not None else ()
    writes = builder.step()
    if wanted.prefixes != known:
        _guard_prefixes(builder, writes, wanted)
    if stored is not None:
        writes.expect(service_mark(wanted.name), builder.revision_of(service_mark(wanted.name)))
    writes.change(keys.service(wanted.name), stored.mod_revision if stored is not None else ABSENT, wanted)
    builder.services[wanted.name] = Stored(wanted, ABSENT)
    if stored is not None and wanted.prefixes != known:
        _renew(builder, wanted, vpcs)
    _note(builder, stored.record if stored is not None else None, wanted)


def _guard_prefixes(builder: PlanBuilder, writes: Writes, wanted: GatewayService) -> None:
    """Add the guard of all ranges that a service's prefixes must not overlap. Raises ApiError: InvalidParameterValue."""
    where = _where(wanted.name)
    change_pools(writes, builder.revision_of)
    pools = [found.record for found in builder.pools.values()]
    hosts = [state.host for state in builder.hosts.values()]
    others = [found.record for name, found in builder.services.items() if name != wanted.name]
    for prefix in map(parse_prefix, wanted.prefixes):
        refuse_taken(where, prefix, pools, hosts)
        refuse_services(where, prefix, others)


def _renew(builder: PlanBuilder, wanted: GatewayService, vpcs: Sequence[VpcRecords]) -> None:
    """Add the new prefixes of a service to the VPCs that use it. Raises ApiError, UnreadableRecord."""
    users = {vni_of(key.rpartition("/")[2]) for key in builder.inventory.raw if key.startswith(keys.service_uses(wanted.name))}
    for vni in users:
        builder.inventory.check_vpc(builder.caller, vni)
    for records in vpcs:
        if records.vni in users:
            refuse_own_ranges(_where(wanted.name), records.vpc.record, wanted.prefixes)
            lists = records.of(PrefixList)
            renewed = renew_writes(builder.step(), _where(wanted.name), records.vpc, lists.values(), wanted)
            if renewed is not None:
                lists[renewed.id] = Stored(renewed, ABSENT)


def _note(builder: PlanBuilder, before: GatewayService | None, after: GatewayService) -> None:
    old = before if before is not None else GatewayService(name=after.name, prefixes=(), upstream="")
    fields = differences(upstream=(old.upstream, after.upstream), tls=(old.tls, after.tls), tags=(old.tags, after.tags))
    members = [
        *member_differences("prefixes", old.prefixes, after.prefixes),
        *member_differences("hosts", old.hosts, after.hosts),
    ]
    change = Change(
        action=Action.ADD if before is None else Action.CHANGE,
        kind="gateway-service",
        name=after.name,
        differences=(*fields, *members),
        hosts=tuple(name for name, state in builder.hosts.items() if state.host.role is Role.EDGE and state.host.pair),
    )
    builder.changes.append(change)
