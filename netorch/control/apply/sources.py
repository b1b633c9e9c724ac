"""Which file something belongs to: what that file may delete, and what is left to others.

A file owns the VPCs, and the instances of its top level, that it made; the tag `netorch:source` says which file that is. A file
is known by its `name:`, or else by its path. What a file that is gone has made, or what another file changes, passes over to the
file that has it now; the plan says so. What commands made belongs to no file, whatever files say of it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netorch.errors import ApiError
from netorch.model.cloud import Cloud
from netorch.model.vpc import Tags
from netorch.records.caller import Caller
from netorch.records.valid.needs import SOURCE_TAG

IsThere = Callable[[str], bool]  # whether a file is still there, by path


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is being planned."""

    label: str  # what is written into what it makes; empty: the file has no name, and owns nothing
    labels: frozenset[str]  # with the names that it had: its path, before it got a name
    is_there: IsThere

    def owns(self, tags: Tags) -> bool:
        """Return whether the file made something with these tags."""
        return tags.get(SOURCE_TAG, "") in self.labels

    def is_lost(self, label: str) -> bool:
        """Return whether the file of a mark is known to be gone. Names are not looked for: they may stand in any file."""
        return label.startswith("/") and label not in self.labels and not self.is_there(label)

    def after(self, label: str, *, changed: bool) -> str:
        """Return whose something is after this file was applied that has it, and has changed it or not."""
        passes = label in self.labels or changed or self.is_lost(label)
        return self.label if self.label and label and passes else label


def source_of(caller: Caller, name: str, path: str, is_there: IsThere) -> Source:
    """Return the source that a file is: a customer's names are his own, so that nobody's file is taken for another's."""
    label = name if caller.operator or not name else f"{caller.owner}/{name}"
    return Source(label=label or path, labels=frozenset({label, path} - {""}), is_there=is_there)


def refuse_others(caller: Caller, cloud: Cloud) -> None:
    """Refuse a file that declares something of another owner's. Raises ApiError: UnauthorizedOperation."""
    named = [("VPC", decl.owner, decl.name) for decl in cloud.vpcs]
    named += [("elastic IP address", decl.owner, decl.name) for decl in cloud.elastic_ips]
    named += [("customer gateway", decl.owner, decl.name) for decl in cloud.customer_gateways]
    named += [("DHCP options set", decl.owner, decl.name) for decl in cloud.dhcp_options]
    named += [("bucket", decl.owner, decl.name) for decl in cloud.buckets]
    named += [("private zone", decl.owner, decl.name) for decl in cloud.private_zones]
    for noun, owner, name in named:
        if not caller.sees(owner):
            fix = f"write `owner: {caller.owner}` if it is to be, or leave it out"
            raise ApiError("UnauthorizedOperation", f"{noun} {owner}/{name}: is not yours; {fix}")
