"""Checks of stored DHCP options sets and private zones. See netorch.records.valid.members."""

from __future__ import annotations

from netorch.model.services import dhcp_options
from netorch.model.services.dhcp_options import DhcpOptions, DhcpOptionsSet
from netorch.model.services.zones import (
    PrivateZone,
    VpcZone,
    checked_values,
    domain_violation,
    in_order,
    record_violation,
    zone_violation,
)
from netorch.records import keys
from netorch.records.valid.needs import Invalid, name_violation, need, need_id, need_key, need_labels


def check_dhcp_options(key: str, found: DhcpOptionsSet) -> None:
    """Check a DHCP options set. Raises Invalid."""
    need_id("id", found.id, "dopt", 0)
    need_key(key, keys.owned("dopt", found.owner, found.id))
    need("owner", name_violation(found.owner))
    if found.name:
        need("name", name_violation(found.name))
    need_options("options", found.options)
    need_labels(found)


def check_zone(key: str, found: PrivateZone) -> None:
    """Check a private zone. Raises Invalid."""
    need_id("id", found.id, "zone", 0)
    need_key(key, keys.owned("zone", found.owner, found.id))
    need("owner", name_violation(found.owner))
    need("name", name_violation(found.name))
    _need_records(found)
    need_labels(found)


def check_vpc_zone(key: str, found: VpcZone) -> None:
    """Check a VPC's copy of a private zone. Raises Invalid."""
    need_id("zone", found.zone, "zone", 0)
    need_key(key, keys.vpc_zone(found.vni, found.zone))
    _need_records(found)


def _need_records(zone: PrivateZone | VpcZone) -> None:
    """Raise for a domain or record sets that are invalid or not in normal form."""
    need("domain", domain_violation(zone.domain))
    for record in zone.records:
        need("records", record_violation(record, zone.domain))
        if checked_values(record.type, record.values) != record.values:
            raise Invalid(f"records: the values of {record.name} are not in their usual form")
    need("records", zone_violation(zone.records))
    if in_order(zone.records) != zone.records:
        raise Invalid("records: they are not in order")


def need_options(field: str, options: DhcpOptions) -> None:
    """Raise for options that are invalid or not in normal form."""
    for name, violation in dhcp_options.violations(options):
        raise Invalid(f"{field}: {name}: {violation.what}")
    if dhcp_options.normal(options) != options:
        raise Invalid(f"{field}: they are not in their usual form")
