"""Checks of the DHCP options sets of a cloud."""

from __future__ import annotations

from netorch.model.check.notes import Notes, Where
from netorch.model.cloud import Cloud
from netorch.model.ids import is_id
from netorch.model.normal import told_by
from netorch.model.rules import Violation, shown
from netorch.model.services import dhcp_options
from netorch.model.services.dhcp_options import DEFAULT_SET


def check_dhcp_options(notes: Notes, cloud: Cloud) -> None:
    """Report errors in DHCP options sets, and in the set names of VPCs."""
    names: dict[tuple[str, str], int] = {}
    for i, decl in enumerate(cloud.dhcp_options):
        where: Where = ("dhcp_options", i)
        for field, text in (("name", decl.name), ("owner", decl.owner)):
            if violation := notes.names[text]:
                notes.add(violation, where, (field,))
        if (other := names.setdefault((decl.owner, decl.name), i)) != i and not notes.names[decl.name]:
            what = f"{shown(decl.name)} is also the name of dhcp_options[{other}] of owner {shown(decl.owner)}"
            notes.add(Violation(what, "rename one"), where, ("name",))
        if decl.name == DEFAULT_SET:
            what = f"{DEFAULT_SET!r} stands for the options of a VPC without a set"
            notes.add(Violation(what, "choose another name"), where, ("name",))
        for field, violation in dhcp_options.violations(told_by(decl)):
            notes.add(violation, where, (field,))
        if decl.tags:
            notes.tags(decl.tags, where)
    for i, vpc in enumerate(cloud.vpcs):
        if vpc.dhcp_options and not is_id(vpc.dhcp_options, "dopt") and (violation := notes.names[vpc.dhcp_options]):
            notes.add(violation, ("vpcs", i), ("dhcp_options",))
