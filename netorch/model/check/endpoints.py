"""Checks of gateway services, buckets, endpoints and endpoint services. They do not look up stored resources."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from netorch.model import rules
from netorch.model.addr import Prefix, first_overlaps
from netorch.model.check.notes import Notes, Where
from netorch.model.check.security import Names, no_such
from netorch.model.cloud import Cloud, VpcDecl, main_name
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.declared import EndpointServiceDecl, GatewayServiceDecl, service_path
from netorch.model.endpoints.endpoint import SERVICE_PREFIX
from netorch.model.endpoints.endpoint_service import EVERYBODY, MOST_PORTS, MOST_SUBNETS, MOST_TARGETS, read_port
from netorch.model.iam.parse import read_policy
from netorch.model.ids import is_id
from netorch.model.rules import Violation, shown


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """The names that endpoints and services of one VPC may use. None: unknown, because one of the names is invalid."""

    subnets: Names | None
    groups: Names | None
    instances: Collection[str] | None


def check_services(notes: Notes, cloud: Cloud) -> None:
    """Report errors in the operator's services."""
    names: dict[str, int] = {}
    prefixes: list[Prefix] = []
    places: list[tuple[int, int]] = []  # of each prefix: the index of its service, and its own index there
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
    """Report errors in a service's servers and DNS names."""
    if violation := endpoint_rules.upstream(decl.upstream):
        notes.add(violation, where, ("upstream",))
    if decl.tls and (violation := endpoint_rules.socket_address(decl.tls)):
        notes.add(violation, where, ("tls",))
    for k, host in enumerate(decl.hosts):
        if violation := endpoint_rules.known_name(host):
            notes.add(violation, where, ("hosts", k))
        elif host in decl.hosts[:k]:
            notes.add(Violation(f"{shown(host)} is listed twice", "remove one"), where, ("hosts", k))


def check_buckets(notes: Notes, cloud: Cloud) -> None:
    """Report errors in buckets and their policies."""
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
    """Report errors in a policy, with the paths in the document. An empty text is no policy."""
    found = read_policy(text.strip(), bucket) if text.strip() else ()
    for problem in found if isinstance(found, tuple) else ():
        notes.add(Violation(f"{problem.path}: {problem.what}", problem.fix), where, ("policy",))


def check_endpoints(notes: Notes, vpc: VpcDecl, where: Where, tables: Collection[str] | None) -> None:
    """Report errors in gateway endpoints. `tables` are the names of declared route tables, or None if one is invalid."""
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
                what = f"{shown(table)} already routes to {service} through endpoint {by}"
                notes.add(Violation(what, "name the table once"), here, ("route_tables", k))
        _check_policy(notes, decl.policy, here)
        if decl.tags:
            notes.tags(decl.tags, here)


def check_interface_endpoints(notes: Notes, vpc: VpcDecl, where: Where, around: Around) -> None:
    """Report errors in interface endpoints. The services of other VPCs are not looked up."""
    names = {decl.name: f"gateway_endpoints[{j}]" for j, decl in enumerate(vpc.gateway_endpoints)}
    for j, decl in enumerate(vpc.interface_endpoints):
        here: Where = (*where, "interface_endpoints", j)
        _check_name(notes, decl.name, names, f"interface_endpoints[{j}]", here)
        path = service_path(vpc.owner, decl.service)
        if not is_id(decl.service, "vpce-svc"):
            if path is None or any(notes.names[part] for part in path):
                fix = "write VPC/SERVICE, OWNER/VPC/SERVICE, or its id: vpce-svc-..."
                notes.add(Violation(f"{shown(decl.service)} is not an endpoint service", fix), here, ("service",))
            elif path[:2] == (vpc.owner, vpc.name):
                what, fix = f"{shown(decl.service)} is a service of the same VPC", "reach its targets by their own addresses"
                notes.add(Violation(what, fix), here, ("service",))
        _check_some(notes, "subnets", decl.subnets, MOST_SUBNETS, here)
        _check_known(notes, "subnet", "subnets", decl.subnets, around.subnets, here)
        _check_known(notes, "security group", "security_groups", decl.security_groups, around.groups, here)
        if decl.tags:
            notes.tags(decl.tags, here)


def check_endpoint_services(notes: Notes, vpc: VpcDecl, where: Where, around: Around) -> None:
    """Report errors in the services that a VPC offers."""
    names: dict[str, str] = {}
    for j, decl in enumerate(vpc.endpoint_services):
        here: Where = (*where, "endpoint_services", j)
        _check_name(notes, decl.name, names, f"endpoint_services[{j}]", here)
        _check_some(notes, "subnets", decl.subnets, None, here)
        _check_known(notes, "subnet", "subnets", decl.subnets, around.subnets, here)
        _check_some(notes, "ports", decl.ports, MOST_PORTS, here)
        _check_ports(notes, decl.ports, here)
        if len(decl.targets) > MOST_TARGETS:
            notes.add(Violation(f"there are {len(decl.targets)} targets", f"keep at most {MOST_TARGETS}"), here, ("targets",))
        _check_targets(notes, decl.targets, around.instances, here)
        for k, owner in enumerate(decl.principals):
            if owner != EVERYBODY and (violation := notes.names[owner]):
                notes.add(Violation(violation.what, f"write an owner, or '{EVERYBODY}' for everybody"), here, ("principals", k))
            elif owner in decl.principals[:k]:
                notes.add(Violation(f"{shown(owner)} is listed twice", "remove one"), here, ("principals", k))
        _check_accepted(notes, decl, here)
        if decl.private_dns_name and (violation := rules.dns_name(decl.private_dns_name)):
            notes.add(violation, here, ("private_dns_name",))
        if decl.tags:
            notes.tags(decl.tags, here)


def _check_name(notes: Notes, name: str, names: dict[str, str], place: str, where: Where) -> None:
    if violation := notes.names[name]:
        notes.add(violation, where, ("name",))
    elif (other := names.setdefault(name, place)) != place:
        notes.add(Violation(f"{shown(name)} is also the name of {other}", "rename one"), where, ("name",))


def _check_some(notes: Notes, field: str, found: Collection[str], most: int | None, where: Where) -> None:
    """Report a list that is empty or too long."""
    if not found:
        notes.add(Violation(f"there are no {field}", "name at least one"), where, (field,))
    elif most is not None and len(found) > most:
        notes.add(Violation(f"there are {len(found)} {field}", f"keep at most {most}"), where, (field,))


def _check_known(notes: Notes, noun: str, field: str, found: list[str], known: Names | None, where: Where) -> None:
    """Report unknown and duplicate names."""
    for k, name in enumerate(found):
        if name in found[:k]:
            notes.add(Violation(f"{shown(name)} is listed twice", "remove one"), where, (field, k))
        elif known is not None and name not in known:
            notes.add(no_such(noun, name, known, field), where, (field, k))


def _check_ports(notes: Notes, texts: Iterable[str], where: Where) -> None:
    seen: dict[tuple[int, int], int] = {}
    for k, text in enumerate(texts):
        port = read_port(text)
        if isinstance(port, Violation):
            notes.add(port, where, ("ports", k))
        elif (other := seen.setdefault((port.protocol, port.port), k)) != k:
            notes.add(Violation(f"{text} is the same port as ports[{other}]", "remove one"), where, ("ports", k))


def _check_targets(notes: Notes, targets: list[str], instances: Collection[str] | None, where: Where) -> None:
    for k, name in enumerate(targets):
        if name in targets[:k]:
            notes.add(Violation(f"{shown(name)} is listed twice", "remove one"), where, ("targets", k))
        elif not is_id(name, "eni") and instances is not None and name not in instances:
            fix = "write the name of one of the VPC's instances, or the id of an interface"
            notes.add(Violation(f"there is no instance {shown(name)}", fix), where, ("targets", k))


def _check_accepted(notes: Notes, decl: EndpointServiceDecl, where: Where) -> None:
    """Report errors in the connections that a service accepts."""
    if isinstance(decl.accept, msgspec.UnsetType):
        return
    if not decl.acceptance_required:
        what = "acceptance_required is false, so every connection is accepted"
        notes.add(Violation(what, "remove one of the two"), where, ("accept",))
    for k, text in enumerate(decl.accept):
        parts = text.split("/")
        if not is_id(text, "vpce-con") and (len(parts) != 3 or any(notes.names[part] for part in parts)):
            fix = "write OWNER/VPC/ENDPOINT, or the id of a connection: vpce-con-..."
            notes.add(Violation(f"{shown(text)} is not an endpoint", fix), where, ("accept", k))
        elif text in decl.accept[:k]:
            notes.add(Violation(f"{shown(text)} is listed twice", "remove one"), where, ("accept", k))
