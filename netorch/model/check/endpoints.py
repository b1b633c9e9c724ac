"""What is wrong with services, buckets and the gateway endpoints of VPCs. Whether there are others only the store knows."""

from __future__ import annotations

from collections.abc import Collection

from netorch.model.addr import Prefix, first_overlaps
from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import Cloud, VpcDecl, main_name
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.declared import GatewayServiceDecl
from netorch.model.endpoints.endpoint import SERVICE_PREFIX
from netorch.model.iam.parse import read_policy
from netorch.model.rules import Violation, shown


def service_lists(vpc: VpcDecl) -> set[str]:
    """Return the names of the prefix lists that come with a VPC's declared endpoints."""
    return {f"{SERVICE_PREFIX}{decl.service.removeprefix(SERVICE_PREFIX)}" for decl in vpc.gateway_endpoints}


def check_services(notes: Notes, cloud: Cloud) -> None:
    """Report what is wrong with the operator's services."""
    names: dict[str, int] = {}
    prefixes: list[Prefix] = []
    places: list[tuple[int, int]] = []  # of each of them: its service, and its number there
    for i, decl in enumerate(cloud.gateway_services):
        where: Where = ("gateway_services", i)
        if violation := endpoint_rules.service_name(decl.name):
            notes.add(violation, where, ("name",))
        elif (other := names.setdefault(decl.name, i)) != i:
            what = f"{shown(decl.name)} is also the name of gateway_services[{other}]"
            notes.add(Violation(what, "rename one"), where, ("name",))
        if not 0 < len(decl.prefixes) <= endpoint_rules.MAX_PREFIXES:
            what = f"the service has {len(decl.prefixes)} prefixes"
            fix = f"write 1 to {endpoint_rules.MAX_PREFIXES}, e.g. [198.19.0.0/24]"
            notes.add(Violation(what, fix), where, ("prefixes",))
        for k, text in enumerate(decl.prefixes):
            prefix = endpoint_rules.service_prefix(text)
            if isinstance(prefix, Violation):
                notes.add(prefix, where, ("prefixes", k))
            else:
                prefixes.append(prefix)
                places.append((i, k))
        _check_servers(notes, decl, where)
        if decl.tags:
            notes.tags(decl.tags, where)
    for one, two in first_overlaps(zip(prefixes, range(len(prefixes)), strict=True)):
        first, second = sorted((one, two))
        what = f"{prefixes[second]} overlaps {prefixes[first]} of gateway_services[{places[first][0]}]"
        i, k = places[second]
        notes.add(Violation(what, "choose a range that is free"), ("gateway_services", i, "prefixes", k))


def _check_servers(notes: Notes, decl: GatewayServiceDecl, where: Where) -> None:
    """Report what is wrong with where a service is, and with the names by which VPCs know it."""
    if violation := endpoint_rules.upstream(decl.upstream):
        notes.add(violation, where, ("upstream",))
    if decl.tls and (violation := endpoint_rules.socket_address(decl.tls)):
        notes.add(violation, where, ("tls",))
    for k, host in enumerate(decl.hosts):
        if violation := endpoint_rules.known_name(host):
            notes.add(violation, where, ("hosts", k))
        elif host in decl.hosts[:k]:
            notes.add(Violation(f"{shown(host)} stands here twice", "remove one"), where, ("hosts", k))


def check_buckets(notes: Notes, cloud: Cloud) -> None:
    """Report what is wrong with buckets, and with their policies."""
    names: dict[str, int] = {}
    for i, decl in enumerate(cloud.buckets):
        where: Where = ("buckets", i)
        if violation := endpoint_rules.bucket_name(decl.name):
            notes.add(violation, where, ("name",))
        elif (other := names.setdefault(decl.name, i)) != i:
            notes.add(Violation(f"{shown(decl.name)} is also the name of buckets[{other}]", "rename one"), where, ("name",))
        if violation := endpoint_rules.service_name(decl.service.removeprefix(SERVICE_PREFIX)):
            notes.add(violation, where, ("service",))
        if violation := notes.names[decl.owner]:
            notes.add(violation, where, ("owner",))
        if isinstance(decl.policy, str):
            _check_policy(notes, decl.policy, where, decl.name)
        if decl.tags:
            notes.tags(decl.tags, where)


def _check_policy(notes: Notes, text: str, where: Where, bucket: str = "") -> None:
    """Report what is wrong with a policy, with its places in the document; an empty text is none."""
    found = read_policy(text.strip(), bucket) if text.strip() else ()
    for problem in found if isinstance(found, tuple) else ():
        notes.add(Violation(f"{problem.path}: {problem.what}", problem.fix), where, ("policy",))


def check_endpoints(notes: Notes, vpc: VpcDecl, where: Where, tables: Collection[str] | None) -> None:
    """Report what is wrong with gateway endpoints; `tables` are the names of declared route tables, None when one is bad."""
    names: dict[str, int] = {}
    taken: dict[tuple[str, str], str] = {}
    for j, decl in enumerate(vpc.gateway_endpoints):
        here: Where = (*where, "gateway_endpoints", j)
        if violation := notes.names[decl.name]:
            notes.add(violation, here, ("name",))
        elif (other := names.setdefault(decl.name, j)) != j:
            notes.add(
                Violation(f"{shown(decl.name)} is also the name of gateway_endpoints[{other}]", "rename one"), here, ("name",)
            )
        service = decl.service.removeprefix(SERVICE_PREFIX)
        if violation := endpoint_rules.service_name(service):
            notes.add(violation, here, ("service",))
        known = {*(tables or ()), main_name(vpc.route_tables)}
        for k, table in enumerate(decl.route_tables):
            if tables is not None and table not in known:
                fix = f"choose one of {', '.join(sorted(known))}"
                notes.add(Violation(f"there is no route table {shown(table)}", fix), here, ("route_tables", k))
            elif (by := taken.setdefault((table, service), decl.name)) != decl.name or table in decl.route_tables[:k]:
                what = f"{shown(table)} leads to {service} by endpoint {by} already"
                notes.add(Violation(what, "name the table once"), here, ("route_tables", k))
        _check_policy(notes, decl.policy, here)
        if decl.tags:
            notes.tags(decl.tags, here)
