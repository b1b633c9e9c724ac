"""Checks of the route tables of one VPC."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from netorch.model.addr import Prefix
from netorch.model.check.notes import Notes, Where
from netorch.model.check.security import Names, no_such
from netorch.model.cloud import GATEWAY_FIELDS, VpcDecl, main_name
from netorch.model.ids import is_id
from netorch.model.permission import LIST_PREFIX
from netorch.model.routing.allowed import NOUNS, violation_of_words
from netorch.model.routing.mapped import outside_alias
from netorch.model.routing.target import TargetKind
from netorch.model.routing.text import RouteWords, parse_route
from netorch.model.rules import Violation, shown


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """The names and ranges that routes of one VPC may use. None: unknown, because one of them is invalid."""

    ranges: Collection[Prefix] | None  # of the VPC
    subnets: Collection[Prefix] | None  # of its subnets
    lists: Names | None  # names of prefix lists
    instances: Collection[str] | None
    peerings: Mapping[str, str]  # name -> the other VPC's alias; empty if not mapped
    nats: Collection[str] | None  # names of NAT gateways
    gateways: Collection[TargetKind]  # the declared gateways of which a VPC has at most one


def check_table_names(notes: Notes, vpc: VpcDecl, where: Where) -> Names | None:
    """Report errors in the names and tags of route tables. Return all names, or None if one is invalid."""
    names: Names = {main_name(vpc.route_tables): -1}
    all_named = True
    mains = [j for j, table in enumerate(vpc.route_tables) if table.main]
    for j in mains[1:]:
        second = Violation(f"route_tables[{mains[0]}] is already the main route table", "leave `main` out of one of them")
        notes.add(second, where, ("route_tables", j, "main"))
    for j, table in enumerate(vpc.route_tables):
        here: Where = (*where, "route_tables", j)
        if violation := notes.names[table.name]:
            notes.add(violation, here, ("name",))
            all_named = False
        elif names.get(table.name, -1) != -1:
            what = f"{shown(table.name)} is also the name of route_tables[{names[table.name]}]"
            notes.add(Violation(what, "rename one"), here, ("name",))
        else:
            names[table.name] = j
        if table.tags:
            notes.tags(table.tags, here)
    return names if all_named else None


def check_routes(notes: Notes, vpc: VpcDecl, where: Where, around: Surroundings) -> None:
    """Report errors in the routes of a VPC's tables."""
    for j, table in enumerate(vpc.route_tables):
        seen: dict[str, int] = {}
        for k, text in enumerate(table.routes):
            words = parse_route(text)
            violation = words if isinstance(words, Violation) else _violation_of(words, around)
            if isinstance(words, RouteWords) and (other := seen.setdefault(words.destination, k)) != k:
                violation = Violation(f"{words.destination} is also the destination of routes[{other}]", "remove one")
            if violation:
                notes.add(violation, where, ("route_tables", j, "routes", k))


def _violation_of(words: RouteWords, around: Surroundings) -> Violation | None:
    if violation := violation_of_words(words, around.ranges, around.subnets):
        return violation
    name = words.destination.removeprefix(LIST_PREFIX)
    if name != words.destination and not is_id(words.destination) and around.lists is not None and name not in around.lists:
        return no_such("prefix list", name, around.lists, "prefix_lists")
    alias = around.peerings.get(words.name, "") if words.kind is TargetKind.PEERING else ""
    if alias and name == words.destination and (violation := outside_alias(words.destination, alias)):
        return violation
    return None if is_id(words.name) else _violation_of_name(words.kind, words.name, around)


def _violation_of_name(kind: TargetKind, name: str, around: Surroundings) -> Violation | None:
    """Return why a route's target does not exist in the VPC, or None."""
    if kind is TargetKind.PEERING and name not in around.peerings:
        return Violation(f"there is no peering connection {shown(name)}", "add it to the VPC's peerings, or write an id")
    if kind in GATEWAY_FIELDS and kind not in around.gateways:
        fix = f"add `{GATEWAY_FIELDS[kind]}: {{}}` to the VPC, or choose another target"
        return Violation(f"the VPC has no {NOUNS[kind]}", fix)
    if kind is TargetKind.NAT_GATEWAY and around.nats is not None and name not in around.nats:
        return Violation(f"there is no NAT gateway {shown(name)}", "add it to the VPC's nat_gateways, or write an id")
    if kind is TargetKind.INTERFACE and around.instances is not None and name not in around.instances:
        fix = "write the name of one of the VPC's instances, or the id of an interface"
        return Violation(f"there is no instance {shown(name)}", fix)
    return None
