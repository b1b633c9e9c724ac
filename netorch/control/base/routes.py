"""Stored routes and what they may refer to: the decisions that a command and a plan share.

A route holds a CIDR or a prefix list, and `local`, `blackhole` or the id of a target. A target may be deleted while routes lead
to it: those routes become black holes, as in EC2. A prefix list, however, stays as long as a route refers to it.

The VPC's ranges and subnets decide whether a route is allowed. So a transaction that adds a route compares the VPC's record and
writes the VPC's mark (`netorch.control.base.uses`). A transaction that changes the ranges or subnets compares that mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from netorch.control.base.quotas import Quotas, check_growth
from netorch.control.base.uses import use
from netorch.control.base.writes import Writes
from netorch.errors import ApiError
from netorch.model.addr import AddressError, Prefix, parse_prefix
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.ids import is_id
from netorch.model.outside.gateway import GatewayRecord, NatGateway
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.allowed import violation_of_version, violation_of_words
from netorch.model.routing.effective import counts, ranges_of
from netorch.model.routing.mapped import outside_alias
from netorch.model.routing.peering import PeeringConnection
from netorch.model.routing.seats import gateway_kind
from netorch.model.routing.target import LOCAL, ONLY_ONE, TargetKind
from netorch.model.routing.text import RouteWords, destination_order, parse_destination, parse_target
from netorch.model.rules import Violation
from netorch.model.security import PrefixList
from netorch.model.vpc import RouteTable, Subnet, Vpc, VpcRoute
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import in_use, invalid, not_found
from netorch.records.kinds import BY_PREFIX
from netorch.records.read import Stored, get, read, read_all
from netorch.store.alloc import holder_of
from netorch.store.base import Store

FindTarget = Callable[[TargetKind, str], str]  # kind, name or id -> id of the target; raises ApiError


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes of one VPC may refer to."""

    vpc: Stored[Vpc]
    subnets: list[Prefix]
    lists: Mapping[str, Stored[PrefixList]]  # by id
    find: FindTarget
    connection: Callable[[str], PeeringConnection | None]  # a connection of the VPC, by id


def surroundings_of(store: Store, caller: Caller, vpc: Stored[Vpc]) -> Surroundings:
    """Return what the routes of a stored VPC may refer to. Cost: O(subnets and prefix lists of the VPC)."""
    vni = vpc.record.vni
    return Surroundings(
        vpc=vpc,
        subnets=ranges_of_subnets(stored.record for stored in read_all(store, Subnet, vni).values()),
        lists=read_all(store, PrefixList, vni),
        find=lambda kind, text: find_target(store, caller, vpc.record, kind, text),
        connection=lambda found: _connection(store, vni, found),
    )


def _connection(store: Store, vni: int, connection_id: str) -> PeeringConnection | None:
    found = get(store, keys.member(vni, connection_id), PeeringConnection)
    return found.record if found is not None else None


def ranges_of_subnets(subnets: Iterable[Subnet]) -> list[Prefix]:
    """Return the ranges of subnets, of both IP versions."""
    return [parse_prefix(text) for subnet in subnets for text in (subnet.cidr, subnet.ipv6_cidr) if text]


def find_target(store: Store, caller: Caller, vpc: Vpc, kind: TargetKind, text: str) -> str:
    """Return the id of a target by id or name; an interface may also be named by its instance's name.

    Without a name, the target is the VPC's only one. An ended peering connection is no target.

    Raises:
      ApiError: EC2's NotFound of its kind, InvalidParameterValue for a target in another VPC.
    """
    of = BY_PREFIX[kind.value]
    if is_id(text, kind.value):
        found = get(store, keys.member(vpc.vni, text), of.type)
        if found is None:
            read(store, caller, of.type, text)
            raise invalid(f"{of.noun} {text}", "belongs to another VPC", f"choose one of {vpc.id}")
        if not is_there(found.record, caller.now()):
            raise not_found(kind.value, text)
        return text
    if kind is TargetKind.INTERFACE and (holder := holder_of(store.get(keys.name(vpc.id, "i", text)))):
        return primary_eni_id(holder)
    if kind in ONLY_ONE:
        return only_target(kind, read_all(store, of.type, vpc.vni))
    every = ((found, stored.record) for found, stored in read_all(store, of.type, vpc.vni).items())
    named = [found for found, record in every if record.name == text and is_there(record, caller.now())]
    if not named:
        raise not_found(kind.value, text)
    if len(named) > 1:
        raise invalid(f"{of.noun} {text!r}", "several have this name", f"choose one of {', '.join(named)}")
    return named[0]


def only_target(kind: TargetKind, known: Iterable[str]) -> str:
    """Return the id of a gateway of which a VPC has only one. Raises ApiError: its NotFound."""
    for found in known:
        return found
    of = BY_PREFIX[kind.value]
    raise ApiError(of.not_found, f"{of.noun}: the VPC has none; first: netorch {of.command} create NAME --vpc VPC")


def is_there(target: NetworkInterface | PeeringConnection | GatewayRecord, now: float) -> bool:
    """Return whether a route may lead to a target: a peering connection may be pending, but not ended."""
    return not isinstance(target, PeeringConnection) or target.is_live(now)


def read_words(where: str, destination: str, target: str) -> RouteWords:
    """Return a route that a command names, with the host bits of its destination cleared as EC2 does.

    Raises:
      ApiError: InvalidParameterValue.
    """
    words = parse_target(" ".join(target.split()))
    if isinstance(words, Violation):
        raise invalid(where, words.what, words.fix)
    return RouteWords(read_destination(where, destination), *words)


def read_destination(where: str, text: str) -> str:
    """Return a destination that a command names: a CIDR, or a prefix list unchanged. Raises ApiError: InvalidParameterValue."""
    try:
        return str(parse_prefix(text, strict=False))
    except AddressError:
        found = parse_destination(text)
    if isinstance(found, Violation):
        raise invalid(where, found.what, found.fix)
    return found


def stored_destination(destination: str, lists: Mapping[str, Stored[PrefixList]]) -> str:
    """Return a destination in its stored form: a prefix list by its id. Raises ApiError: InvalidPrefixListID.NotFound."""
    if not destination.startswith(LIST_PREFIX) or destination in lists:
        return destination
    name = destination.removeprefix(LIST_PREFIX)
    found = next((list_id for list_id, stored in lists.items() if stored.record.name == name), None)
    if found is None:
        raise not_found("pl", destination)
    return found


def make_route(where: str, words: RouteWords, around: Surroundings) -> VpcRoute:
    """Return a route in its stored form. A route with the target `local` means that the table has no route of its own.

    Raises:
      ApiError: InvalidParameterValue for a route that EC2 does not allow, InvalidPrefixListID.NotFound, its target's NotFound.
    """
    if violation := violation_of_words(words, ranges_of(around.vpc.record), around.subnets):
        raise invalid(where, violation.what, violation.fix)
    destination = stored_destination(words.destination, around.lists)
    listed = around.lists.get(destination)
    if listed and (violation := violation_of_version(words.destination, listed.record.version, words.kind)):
        raise invalid(where, violation.what, violation.fix)
    needs_id = words.name or words.kind in ONLY_ONE
    target = around.find(words.kind, words.name) if needs_id else words.kind.value
    connection = around.connection(target) if words.kind is TargetKind.PEERING else None
    if connection is not None and connection.is_mapped:
        cidrs = [entry.cidr for entry in listed.record.entries] if listed is not None else [words.destination]
        for violation in filter(None, (outside_alias(cidr, connection.peer.alias) for cidr in cidrs)):
            raise invalid(where, violation.what, violation.fix)
    return VpcRoute(destination=destination, target=target)


def with_routes(table: RouteTable, routes: Iterable[VpcRoute]) -> RouteTable:
    """Return a table with other routes of its own, in stored order."""
    own = [route for route in routes if route.target != str(LOCAL)]
    return msgspec.structs.replace(table, routes=tuple(sorted(own, key=lambda route: destination_order(route.destination))))


def route_counts(table: RouteTable, lists: Mapping[str, Stored[PrefixList]]) -> Mapping[int, int]:
    """Return how many of a table's routes count in its quota, by IP version."""
    return counts(table.routes, {list_id: stored.record for list_id, stored in lists.items()})


def room_for_routes(table: RouteTable, lists: Mapping[str, Stored[PrefixList]], quotas: Quotas, had: Mapping[int, int]) -> None:
    """Refuse a table with too many routes of an IP version, if they are more than it `had`.

    Raises:
      ApiError: RouteLimitExceeded.
    """
    for version, count in route_counts(table, lists).items():
        what = f"routes of IPv{version} ({count} with the requested ones)"
        check_growth(quotas, "RouteLimitExceeded", where_of(table), had[version], count, what)


def where_of(table: RouteTable) -> str:
    """Return the name of a table for error texts."""
    return f"route table {table.name} ({table.id})"


def change_routes(writes: Writes, stored: Stored[RouteTable], changed: RouteTable, around: Surroundings) -> None:
    """Add the change of a table's routes.

    What new routes depend on must be unchanged: the VPC's ranges and subnets, and all prefix lists, because they count in the
    quota.
    """
    writes.change(keys.resource(changed.id), stored.mod_revision, changed)
    if set(changed.routes) <= set(stored.record.routes):
        return
    vpc = around.vpc
    use(writes, keys.vpc(vpc.record.vni), vpc.record.id, vpc.mod_revision)
    for route in changed.routes:
        if route.destination in around.lists:
            listed = around.lists[route.destination]
            use(writes, keys.resource(route.destination), route.destination, listed.mod_revision)


def refuse_overrides(vpc: Vpc, subnet: Subnet, tables: Iterable[Stored[RouteTable]]) -> None:
    """Refuse to delete a subnet if a route for its range replaces the VPC's local one. Raises ApiError: DependencyViolation."""
    gone = {str(prefix) for prefix in ranges_of_subnets([subnet]) if prefix not in ranges_of(vpc)}
    for stored in tables:
        for route in stored.record.routes:
            if route.destination in gone:
                by = f"the route to {route.destination} of {where_of(stored.record)}"
                raise in_use("subnet", subnet.id, by, "delete that route first")


def refuse_replaced_local(vpc_id: str, gone: Prefix, tables: Iterable[Stored[RouteTable]]) -> None:
    """Refuse to remove a range from a VPC if a route replaces its local one. Raises ApiError: DependencyViolation."""
    for stored in tables:
        table = stored.record
        if any(route.destination == str(gone) for route in table.routes):
            by = f"the route to {gone} of {where_of(table)} that replaces the local one"
            raise in_use(
                "vpc", vpc_id, by, f"restore the local route first: netorch route-table route replace {table.id} {gone} local"
            )


def refuse_covered_routes(vpc_id: str, new: Prefix, tables: Iterable[Stored[RouteTable]]) -> None:
    """Refuse a new range of a VPC that equals or contains a route's destination. Raises ApiError: InvalidVpc.Range."""
    for stored in tables:
        for route in stored.record.routes:
            if not route.destination.startswith(LIST_PREFIX) and new.contains(parse_prefix(route.destination)):
                what = f"{new} is the same as, or larger than, the route to {route.destination} of {where_of(stored.record)}"
                raise ApiError("InvalidVpc.Range", f"VPC {vpc_id}: {what}; delete that route first, or choose another range")


def route_names(
    interfaces: Iterable[NetworkInterface],
    instances: Mapping[str, Instance],
    peerings: Iterable[PeeringConnection],
    gateways: Iterable[GatewayRecord],
    lists: Iterable[PrefixList],
) -> dict[str, str]:
    """Return the names of targets and prefix lists in a vpc.yaml, by id. Of interfaces, only primary ones have a name."""
    own = (eni for eni in interfaces if eni.instance and eni.id == primary_eni_id(eni.instance))
    named = {eni.id: f"{TargetKind.INTERFACE.value} {instances[eni.instance].name}" for eni in own}
    named |= {half.id: f"{TargetKind.PEERING.value}-{half.name}" for half in peerings if half.name}
    for gateway in gateways:
        kind = gateway_kind(gateway.id).value
        if not isinstance(gateway, NatGateway | VpcEndpoint):
            named[gateway.id] = kind
        elif gateway.name:
            named[gateway.id] = f"{kind}-{gateway.name}"
    return named | {found.id: LIST_PREFIX + found.name for found in lists}


def route_text(route: VpcRoute, names: Mapping[str, str]) -> str:
    """Return a stored route as a vpc.yaml writes it."""
    return f"{names.get(route.destination, route.destination)} via {names.get(route.target, route.target)}"
