"""Checks of the private zones of a cloud."""

from __future__ import annotations

from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import Cloud
from netorch.model.rules import Violation, shown
from netorch.model.services.declared_zones import PrivateZoneDecl
from netorch.model.services.zones import (
    RecordSet,
    checked_values,
    domain_violation,
    in_order,
    plain,
    record_violation,
    relative_name,
    zone_violation,
)


def check_zones(notes: Notes, cloud: Cloud) -> None:
    """Report errors in zones and their record sets, and zones with the same domain in one VPC."""
    names: dict[tuple[str, str], int] = {}
    domains: dict[tuple[str, str, str], int] = {}
    for i, decl in enumerate(cloud.private_zones):
        where: Where = ("private_zones", i)
        for field, text in (("name", decl.name), ("owner", decl.owner)):
            if violation := notes.names[text]:
                notes.add(violation, where, (field,))
        if (other := names.setdefault((decl.owner, decl.name), i)) != i and not notes.names[decl.name]:
            what = f"{shown(decl.name)} is also the name of private_zones[{other}] of owner {shown(decl.owner)}"
            notes.add(Violation(what, "rename one"), where, ("name",))
        domain = plain(decl.domain or decl.name)
        if violation := domain_violation(domain):
            notes.add(violation, where, ("domain" if decl.domain else "name",))
        if not decl.vpcs:
            notes.add(Violation("the zone has no VPC", "name at least one"), where, ("vpcs",))
        for k, vpc in enumerate(decl.vpcs):
            if violation := notes.names[vpc]:
                notes.add(violation, where, ("vpcs", k))
            elif (other := domains.setdefault((decl.owner, vpc, domain), i)) != i:
                what = f"private_zones[{other}] is also a zone of {shown(domain)} in {shown(vpc)}"
                notes.add(Violation(what, "put the records into one zone"), where, ("vpcs", k))
        _check_records(notes, decl, domain, where)
        if decl.tags:
            notes.tags(decl.tags, where)


def _check_records(notes: Notes, decl: PrivateZoneDecl, domain: str, where: Where) -> None:
    good: list[RecordSet] = []
    for k, record in enumerate(decl.records):
        values = checked_values(record.type, record.values)
        if isinstance(values, Violation):
            notes.add(values, where, ("records", k, "values"))
            continue
        found = RecordSet(name=relative_name(record.name, domain), type=record.type, ttl=record.ttl, values=values)
        if violation := record_violation(found, domain):
            notes.add(violation, where, ("records", k))
        else:
            good.append(found)
    if violation := zone_violation(in_order(good)):
        notes.add(violation, where, ("records",))
