"""Ownership by files: what a file may delete, and what it leaves to others.

A file owns the VPCs and top-level instances that it made; the tag `netorch:source` names the file. A file is known by its
`name:`, or else by its path. If a file is gone, or another file changes its resources, these pass to the file that declares
them now; the plan reports it. Resources made by commands belong to no file, whatever files declare.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netorch.errors import ApiError
from netorch.model.cloud import Cloud
from netorch.model.vpc import Tags
from netorch.records.caller import Caller
from netorch.records.valid.needs import SOURCE_TAG

IsThere = Callable[[str], bool]  # path -> whether the file still exists
PlaceOf = Callable[[str, str, str], str]  # owner, VPC, instance -> where the file names the instance's host, as errors show it


def unplaced(owner: str, vpc: str, instance: str) -> str:
    """Return nothing: the places in the file are unknown."""
    del owner, vpc, instance
    return ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The file that is being planned."""

    label: str  # its mark on resources; empty: the file has no name, and owns nothing
    labels: frozenset[str]  # with former marks: its path, before it got a name
    is_there: IsThere
    place_of: PlaceOf = unplaced

    def owns(self, tags: Tags) -> bool:
        """Return whether the file owns a resource with these tags."""
        return tags.get(SOURCE_TAG, "") in self.labels

    def is_lost(self, label: str) -> bool:
        """Return whether the file of a mark is known to be gone. Names are not checked: any file may have them."""
        return label.startswith("/") and label not in self.labels and not self.is_there(label)

    def after(self, label: str, *, changed: bool) -> str:
        """Return the mark of a resource after this file, which declares it, is applied and has `changed` it or not."""
        passes = label in self.labels or changed or self.is_lost(label)
        return self.label if self.label and label and passes else label


def source_of(caller: Caller, name: str, path: str, is_there: IsThere, place_of: PlaceOf = unplaced) -> Source:
    """Return the source for a file. A customer's file names include the owner, so they never match another owner's file."""
    label = name if caller.operator or not name else f"{caller.owner}/{name}"
    return Source(label=label or path, labels=frozenset({label, path} - {""}), is_there=is_there, place_of=place_of)


def refuse_others(caller: Caller, cloud: Cloud) -> None:
    """Refuse a file that declares resources of other owners. Raises ApiError: UnauthorizedOperation."""
    named = [("VPC", decl.owner, decl.name) for decl in cloud.vpcs]
    named += [("elastic IP address", decl.owner, decl.name) for decl in cloud.elastic_ips]
    named += [("customer gateway", decl.owner, decl.name) for decl in cloud.customer_gateways]
    named += [("DHCP options set", decl.owner, decl.name) for decl in cloud.dhcp_options]
    named += [("bucket", decl.owner, decl.name) for decl in cloud.buckets]
    named += [("private zone", decl.owner, decl.name) for decl in cloud.private_zones]
    for noun, owner, name in named:
        if not caller.sees(owner):
            fix = f"write `owner: {caller.owner}` if it should own it, or leave it out"
            raise ApiError("UnauthorizedOperation", f"{noun} {owner}/{name}: is not yours; {fix}")
