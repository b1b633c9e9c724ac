"""What is wrong with the gateway endpoints that a VPC declares. Whether there are such services only the store knows."""

from __future__ import annotations

from collections.abc import Collection

from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import VpcDecl, main_name
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.endpoint import SERVICE_PREFIX
from netorch.model.iam.parse import read_policy
from netorch.model.rules import Violation, shown


def service_lists(vpc: VpcDecl) -> set[str]:
    """Return the names of the prefix lists that come with a VPC's declared endpoints."""
    return {f"{SERVICE_PREFIX}{decl.service.removeprefix(SERVICE_PREFIX)}" for decl in vpc.gateway_endpoints}


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
        if decl.policy:
            found = read_policy(decl.policy.strip())
            for problem in found if isinstance(found, tuple) else ():
                notes.add(Violation(f"{problem.path}: {problem.what}", problem.fix), here, ("policy",))
        if decl.tags:
            notes.tags(decl.tags, here)
