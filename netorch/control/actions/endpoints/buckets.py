"""Policies of buckets: who may use a bucket, and by which VPCs and endpoints. S3's PutBucketPolicy and what belongs to it.

The server of a service knows nothing of VPCs, so edges judge by these. Nor does netorch know whose a bucket is: the operator says
so, with the first policy of it. From then on its owner sets the policy. Nobody can lock others out of a bucket that is not his.
"""

from __future__ import annotations

import msgspec

from netorch.control.base import checks
from netorch.control.base.endpoints.gateway import check_policy, need, read_service, use_service
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.endpoints import endpoint_rules
from netorch.model.endpoints.endpoint import BucketPolicy
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import not_found
from netorch.records.read import Stored, get, listed
from netorch.store.base import Store

MALFORMED = "MalformedPolicy"  # S3's code


def put_bucket_policy(
    store: Store, caller: Caller, name: str, policy: str, *, service: str = "", owner: str = ""
) -> BucketPolicy:
    """Return a bucket with a policy. The operator may say, by `service` and `owner`, whose bucket of which service it is.

    Raises:
      ApiError: NoSuchBucket for one that is not the caller's; UnauthorizedOperation for a customer who names an owner or service;
        MissingParameter for a new one without these; InvalidServiceName, MalformedPolicy, InvalidParameterValue for a bad name.
    """
    where = f"bucket {name!r}"
    need(where, endpoint_rules.bucket_name(name))
    if (service or owner) and not caller.operator:
        raise ApiError("UnauthorizedOperation", f"{where}: only the operator says whose it is; leave owner and service out")
    if owner:
        checks.name(f"owner {owner!r}", owner)
    checked = check_policy(where, policy, MALFORMED, name)

    def decide() -> tuple[Writes, BucketPolicy]:
        writes, known = Writes(), get(store, keys.bucket(name), BucketPolicy)
        if known is None and not caller.operator:
            raise not_found("bucket", name)
        before = _seen(caller, name, known).record if known is not None else BucketPolicy(name=name, service="", owner="")
        if service:
            before = msgspec.structs.replace(before, service=read_service(store, service).record.name)
        changed = msgspec.structs.replace(before, owner=owner or before.owner, policy=checked)
        if not changed.service or not changed.owner:
            text = f"{where}: nobody has said whose it is; name its owner and its service: --for OWNER --service s3"
            raise ApiError("MissingParameter", text)
        if service:
            use_service(writes, read_service(store, service))
        writes.change(keys.bucket(name), known.mod_revision if known is not None else 0, changed)
        return writes, changed

    return attempt(store, decide)


def delete_bucket_policy(store: Store, caller: Caller, name: str) -> None:
    """Take a bucket's policy away. Its owner keeps it; the operator's deletion makes it nobody's.

    Raises:
      ApiError: NoSuchBucket, NoSuchBucketPolicy for one that has none.
    """

    def decide() -> tuple[Writes, None]:
        writes, known = Writes(), _seen(caller, name, get(store, keys.bucket(name), BucketPolicy))
        if caller.operator:
            writes.delete(keys.bucket(name), known.mod_revision)
            return writes, None
        if not known.record.policy:
            raise ApiError(
                "NoSuchBucketPolicy", f"bucket {name}: has no policy; `netorch endpoint bucket-policy put` gives it one"
            )
        writes.change(keys.bucket(name), known.mod_revision, msgspec.structs.replace(known.record, policy=""))
        return writes, None

    attempt(store, decide)


def describe_bucket(store: Store, caller: Caller, name: str) -> BucketPolicy:
    """Return what is known of a bucket of the caller's. Raises ApiError: NoSuchBucket."""
    return _seen(caller, name, get(store, keys.bucket(name), BucketPolicy)).record


def describe_buckets(store: Store, caller: Caller) -> list[BucketPolicy]:
    """Return the buckets that the caller sees, by name. Raises UnreadableRecord."""
    found = (stored.record for stored in listed(store, keys.bucket_prefix(), BucketPolicy).values())
    return [bucket for bucket in found if caller.sees(bucket.owner)]


def _seen(caller: Caller, name: str, known: Stored[BucketPolicy] | None) -> Stored[BucketPolicy]:
    """Return a bucket if it is the caller's. Raises ApiError: NoSuchBucket."""
    if known is None or not caller.sees(known.record.owner):
        raise not_found("bucket", name)
    return known
