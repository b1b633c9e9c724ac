"""Plan buckets as a file declares them: owners and policies. A file deletes no bucket: that would open it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netorch.control.apply.builder import PlanBuilder
from netorch.control.apply.changes import Action, Change, differences
from netorch.control.apply.endpoints.policies import policy_sides
from netorch.control.base.endpoints.gateway import use_service
from netorch.control.base.writes import ABSENT
from netorch.errors import ApiError
from netorch.model.endpoints.declared import BucketDecl
from netorch.model.endpoints.endpoint import SERVICE_PREFIX, BucketPolicy
from netorch.records import keys
from netorch.records.errors import not_found


def plan_buckets(builder: PlanBuilder, decls: Iterable[BucketDecl]) -> None:
    """Add new buckets, and changes of policies, tags and owners; services are planned.

    Raises:
      ApiError: NoSuchBucket for a bucket that the operator has not given to the customer, UnauthorizedOperation for a
        customer's change of its service, InvalidServiceName.
    """
    for decl in decls:
        stored = builder.inventory.buckets.get(decl.name)
        before = stored.record if stored is not None else None
        if not builder.caller.operator and (before is None or not builder.caller.sees(before.owner)):
            raise not_found("bucket", decl.name)
        wanted = _wanted(decl, before)
        if wanted == before:
            continue
        writes = builder.step()
        if before is None or wanted.service != before.service:
            if not builder.caller.operator:
                what = f"bucket {decl.name!r}: only the operator assigns its service"
                raise ApiError("UnauthorizedOperation", f"{what}; write service: {before.service if before else ''}")
            service = builder.services.get(wanted.service)
            if service is None:
                raise not_found("gwsvc", decl.service)
            use_service(writes, service)
        writes.change(keys.bucket(decl.name), stored.mod_revision if stored is not None else ABSENT, wanted)
        _note(builder, before, wanted)


def _wanted(decl: BucketDecl, before: BucketPolicy | None) -> BucketPolicy:
    """Return a bucket as declared; an omitted policy stays."""
    kept = before.policy if before is not None else ""
    return BucketPolicy(
        name=decl.name,
        service=decl.service.removeprefix(SERVICE_PREFIX),
        owner=decl.owner,
        policy=kept if isinstance(decl.policy, msgspec.UnsetType) else decl.policy.strip(),
        tags=decl.tags,
    )


def _note(builder: PlanBuilder, before: BucketPolicy | None, after: BucketPolicy) -> None:
    old = before if before is not None else BucketPolicy(name=after.name, service="", owner="")
    change = Change(
        action=Action.ADD if before is None else Action.CHANGE,
        kind="bucket",
        name=after.name,
        differences=differences(
            service=(old.service, after.service),
            owner=(old.owner, after.owner),
            policy=policy_sides(old.policy, after.policy),
            tags=(old.tags, after.tags),
        ),
        breaks="everything is permitted" if old.policy and not after.policy else "",
    )
    builder.changes.append(change)
