"""Stored gateway endpoints: the decisions that a command and a plan share.

A VPC finds a service by a prefix list of its own. The first endpoint of the service brings the list, and the list is deleted
with the last one. A route to that list connects a table to an endpoint.

A transaction that creates an endpoint compares the service's record and writes its mark (`netorch.control.base.uses`). A
transaction that deletes the service or changes its prefixes compares the mark. No VPC has the prefixes in use itself: a
transaction that adds a range to a VPC checks its lists, and compares the VPC's mark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from netorch.control.base.uses import use_key
from netorch.control.base.writes import Writes
from netorch.errors import ApiError, Problem
from netorch.model.addr import Prefix, first_overlaps, parse_prefix
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.endpoint import NUMBER_FIRST, NUMBER_LAST, SERVICE_PREFIX, GatewayService, VpcEndpoint
from netorch.model.iam.parse import read_policy
from netorch.model.routing.effective import ranges_of
from netorch.model.routing.target import TargetKind, target_of
from netorch.model.rules import Violation, shown
from netorch.model.security import PrefixList, PrefixListEntry
from netorch.model.vpc import RouteTable, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid, not_found
from netorch.records.read import Stored, get
from netorch.store.base import Store


def need(where: str, violation: Violation | None) -> None:
    """Raise a rule's violation, if there is one. Raises ApiError: InvalidParameterValue."""
    if violation is not None:
        raise invalid(where, violation.what, violation.fix)


def service_mark(name: str) -> str:
    """Return the key of a service's mark."""
    return use_key(f"gwsvc/{name}")


def use_service(writes: Writes, service: Stored[GatewayService]) -> None:
    """Add a new use of a service, so that a deletion or change of the service detects it."""
    writes.expect(keys.service(service.record.name), service.mod_revision)
    writes.put(service_mark(service.record.name), True)


def read_service(store: Store, text: str) -> Stored[GatewayService]:
    """Return a service by its name: `s3`, or `com.netorch.s3` as customers know it. Raises ApiError: InvalidServiceName."""
    name = text.removeprefix(SERVICE_PREFIX)
    if endpoint_rules.service_name(name) is not None:
        raise not_found("gwsvc", text)
    found = get(store, keys.service(name), GatewayService)
    if found is None:
        raise not_found("gwsvc", text)
    return found


def check_policy(where: str, text: str, code: str, bucket: str = "") -> str:
    """Return a policy if it is valid; an empty text means no policy. Raises ApiError: `code`."""
    found = read_policy(text, bucket) if text else ()
    if isinstance(found, tuple) and found:
        first: Problem = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ApiError(code, f"{where}: policy{first.path[1:]}: {first.what}{more}; {first.fix}")
    return text


def service_prefixes(where: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes of a service, in order. Raises ApiError: InvalidParameterValue, MissingParameter."""
    found: list[Prefix] = []
    for text in texts:
        prefix = endpoint_rules.service_prefix(text)
        if isinstance(prefix, Violation):
            raise invalid(where, prefix.what, prefix.fix)
        found.append(prefix)
    if not found:
        raise ApiError("MissingParameter", f"{where}: has no prefix; give it one, e.g. 198.19.0.0/24")
    if len(found) > endpoint_rules.MAX_PREFIXES:
        raise invalid(where, f"it has {len(found)} prefixes", f"give it {endpoint_rules.MAX_PREFIXES} at most")
    for first, second in first_overlaps((prefix, str(prefix)) for prefix in found):
        raise invalid(where, f"{second} overlaps {first}", "name each address once")
    return tuple(map(str, sorted(found)))


def refuse_own_ranges(where: str, vpc: Vpc, prefixes: Iterable[str]) -> None:
    """Refuse a service whose prefixes overlap a VPC's own ranges. Raises ApiError: InvalidParameterValue."""
    for text in prefixes:
        if own := overlapping(ranges_of(vpc), parse_prefix(text)):
            what = f"{text} of the service overlaps {own} of VPC {vpc.name} ({vpc.id})"
            raise invalid(where, what, "choose a VPC with other ranges, or ask the operator for another prefix")


def refuse_service_range(vpc_id: str, new: Prefix, lists: Iterable[Stored[PrefixList]]) -> None:
    """Refuse a new VPC range that overlaps a service which the VPC uses. Raises ApiError: InvalidVpc.Range."""
    for stored in lists:
        for entry in stored.record.entries if stored.record.service else ():
            if parse_prefix(entry.cidr).overlaps(new):
                what = f"{new} overlaps {entry.cidr} of {stored.record.name}, for which the VPC has an endpoint"
                raise ApiError("InvalidVpc.Range", f"VPC {vpc_id}: {what}; delete that endpoint first, or choose another range")


def overlapping(ranges: Iterable[Prefix], prefix: Prefix) -> Prefix | None:
    """Return the first of some ranges that overlaps a prefix."""
    return next((own for own in ranges if own.overlaps(prefix)), None)


def list_of(service: GatewayService, vpc: Vpc, lists: Mapping[str, Stored[PrefixList]], caller: Caller) -> Stored[PrefixList]:
    """Return the prefix list by which a VPC finds a service: the existing one, or a new one with revision 0.

    Raises:
      ApiError: InvalidParameterValue if another list has its name.
    """
    for stored in lists.values():
        if stored.record.service == service.name:
            return stored
        if stored.record.name == service.service_name:
            what = f"prefix list {stored.record.id} has the name {service.service_name}"
            raise invalid(f"VPC {vpc.id}", what, "delete it: the service's own list needs this name")
    made = PrefixList(id=caller.new_id("pl", vpc.vni), vni=vpc.vni, name=service.service_name, version=4, max_entries=1)
    return Stored(with_prefixes(msgspec.structs.replace(made, service=service.name), service), 0)


def with_prefixes(found: PrefixList, service: GatewayService) -> PrefixList:
    """Return a service's prefix list with its current prefixes."""
    entries = tuple(PrefixListEntry(cidr=cidr) for cidr in service.prefixes)
    return msgspec.structs.replace(found, entries=entries, max_entries=len(entries))


def free_number(vpc_id: str, endpoints: Iterable[VpcEndpoint]) -> int:
    """Return the lowest number that no endpoint of a VPC has. Raises ApiError: VpcEndpointLimitExceeded."""
    taken = {endpoint.number for endpoint in endpoints}
    found = next((number for number in range(NUMBER_FIRST, NUMBER_LAST + 1) if number not in taken), None)
    if found is None:
        what = f"VPC {vpc_id}: has {NUMBER_LAST - NUMBER_FIRST + 1} gateway endpoints, the most that edges can carry"
        raise ApiError("VpcEndpointLimitExceeded", f"{what}; delete one")
    return found


def with_endpoint(table: RouteTable, endpoint: VpcEndpoint, where: str) -> list[VpcRoute]:
    """Return a table's routes with one to an endpoint, which is added only if missing. Raises ApiError: RouteAlreadyExists."""
    for route in table.routes:
        if route.destination != endpoint.prefix_list:
            continue
        if route.target == endpoint.id:
            return list(table.routes)
        what = f"{where}: already has a route to {endpoint.prefix_list}, to {route.target}"
        raise ApiError("RouteAlreadyExists", f"{what}; delete that route, or remove the table from that endpoint")
    return [*table.routes, VpcRoute(destination=endpoint.prefix_list, target=endpoint.id)]


def without_endpoint(table: RouteTable, endpoint_id: str) -> list[VpcRoute]:
    """Return a table's routes without those to an endpoint."""
    return [route for route in table.routes if route.target != endpoint_id]


def tables_of(endpoint_id: str, tables: Iterable[RouteTable]) -> tuple[str, ...]:
    """Return the ids of the tables that have a route to an endpoint."""
    return tuple(table.id for table in tables if any(route.target == endpoint_id for route in table.routes))


def is_endpoints(route: VpcRoute) -> bool:
    """Return whether a route belongs to an endpoint."""
    return target_of(route.target).kind is TargetKind.ENDPOINT


def refuse_endpoints_route(where: str, routes: Collection[VpcRoute], destination: str) -> None:
    """Refuse to change a route that belongs to an endpoint. Raises ApiError: InvalidParameterValue."""
    for route in routes:
        if route.destination == destination and is_endpoints(route):
            fix = f"netorch endpoint modify {route.target} --remove-route-table TABLE"
            raise invalid(where, f"the route to {shown(destination)} belongs to endpoint {route.target}", fix)


def refuse_managed(found: PrefixList) -> None:
    """Refuse to change a prefix list that the operator manages. Raises ApiError: OperationNotPermitted."""
    if found.service:
        text = f"prefix list {found.name} ({found.id}): has the prefixes of {found.name}, and exists as long as its endpoints"
        raise ApiError("OperationNotPermitted", f"{text}; create your own list: netorch prefix-list create")
