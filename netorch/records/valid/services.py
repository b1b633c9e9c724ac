"""What is wrong with a stored record about what instances are told. See netorch.records.valid.members."""

from __future__ import annotations

from netorch.model.services import dhcp_options
from netorch.model.services.dhcp_options import DhcpOptions, DhcpOptionsSet
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


def need_options(field: str, options: DhcpOptions) -> None:
    """Raise for options that nobody may have asked for, or that are not in their normal form."""
    for name, violation in dhcp_options.violations(options):
        raise Invalid(f"{field}: {name}: {violation.what}")
    if dhcp_options.normal(options) != options:
        raise Invalid(f"{field}: they are not in their usual form")
