"""Instances at the top level of a file: they are in the default VPC, beside those of other files and of commands."""

from __future__ import annotations

import msgspec

from netorch.control.apply.builder import PlanBuilder
from netorch.control.views.export import export_tables, export_vpc
from netorch.errors import ApiError
from netorch.model.check.cloud import default_vpc
from netorch.model.cloud import DEFAULT_SUBNET_NAME, DEFAULT_VPC_NAME, Cloud, InstanceDecl, VpcDecl
from netorch.model.eni import Instance
from netorch.model.vpc import DEFAULT_OWNER
from netorch.records.vpc import VpcRecords


def with_default_instances(builder: PlanBuilder, cloud: Cloud, stored: VpcRecords | None) -> list[VpcDecl]:
    """Return the declared VPCs, with the top-level instances in the default one.

    Raises:
      ApiError: UnauthorizedOperation for top-level instances in a file of a customer who does not own the default VPC.
    """
    if not builder.caller.sees(DEFAULT_OWNER):
        if cloud.instances:
            what = f"would be in the default VPC of owner {DEFAULT_OWNER}, which is not yours; put it into a VPC of your own"
            raise ApiError("UnauthorizedOperation", f"instance {cloud.instances[0].name!r}: {what}")
        return cloud.vpcs
    for index, decl in enumerate(cloud.vpcs):
        if decl.owner == DEFAULT_OWNER and decl.name == DEFAULT_VPC_NAME:
            merged = msgspec.structs.replace(decl, instances=[*decl.instances, *cloud.instances])
            return [*cloud.vpcs[:index], merged, *cloud.vpcs[index + 1 :]]
    builder.default_instances, builder.has_default_instances = {decl.name for decl in cloud.instances}, True
    if stored is None:
        lodgings = [msgspec.structs.replace(default_vpc(), instances=cloud.instances)] if cloud.instances else []
        return [*cloud.vpcs, *lodgings]
    if not cloud.instances and not made_here(builder, stored):
        return cloud.vpcs
    return [*cloud.vpcs, _default_vpc(builder, stored, cloud.instances)]


def made_here(builder: PlanBuilder, records: VpcRecords) -> set[str]:
    """Return the names of a VPC's instances that this file made at its top level."""
    found = records.each(Instance)
    return {instance.name for instance in found if builder.source.owns(instance.tags)}


def _default_vpc(builder: PlanBuilder, stored: VpcRecords, default_instances: list[InstanceDecl]) -> VpcDecl:
    """Return the stored default VPC as a declaration, but with this file's top-level instances.

    Its routes name interfaces by id, so they stay unchanged even if an instance is deleted.
    """
    as_stored = msgspec.structs.replace(
        export_vpc(stored, builder.caller.now(), {}, builder.elastic_names()), route_tables=export_tables(stored, {})
    )
    own = made_here(builder, stored) | builder.default_instances
    others = [decl for decl in as_stored.instances if decl.name not in own]
    fallback = DEFAULT_SUBNET_NAME if len(as_stored.subnets) > 1 else ""
    placed = [msgspec.structs.replace(decl, subnet=decl.subnet or fallback) for decl in default_instances]
    return msgspec.structs.replace(as_stored, instances=others + placed)
