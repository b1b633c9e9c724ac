"""Bucket policies: who may use a bucket, and from which VPCs and endpoints. S3's PutBucketPolicy and related actions.

The server of a service does not know VPCs, so edges enforce these policies. netorch does not know a bucket's owner either: the
operator sets the owner with the bucket's first policy. After that the owner sets the policy. No customer can lock others out of
a bucket of another owner.
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
    """Set a bucket's policy and return the bucket. The operator may also set its `service` and `owner`.

    Raises:
      ApiError: NoSuchBucket for another owner's bucket; UnauthorizedOperation for a customer who names an owner or service;
        MissingParameter for a new bucket without these; InvalidServiceName, MalformedPolicy, InvalidParameterValue for a bad
        name.
    """
    where = f"bucket {name!r}"
    need(where, endpoint_rules.bucket_name(name))
    if (service or owner) and not caller.operator:
        raise ApiError("UnauthorizedOperation", f"{where}: only the operator assigns its owner and service; leave both out")
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
            text = f"{where}: it has no owner yet; name its owner and its service: --for OWNER --service s3"
            raise ApiError("MissingParameter", text)
        if service:
            use_service(writes, read_service(store, service))
        writes.change(keys.bucket(name), known.mod_revision if known is not None else 0, changed)
        return writes, changed

    return attempt(store, decide)


def delete_bucket_policy(store: Store, caller: Caller, name: str) -> None:
    """Delete a bucket's policy. Its owner keeps the bucket; if the operator deletes the policy, the bucket has no owner.

    Raises:
      ApiError: NoSuchBucket, NoSuchBucketPolicy for a bucket without a policy.
    """

    def decide() -> tuple[Writes, None]:
        writes, known = Writes(), _seen(caller, name, get(store, keys.bucket(name), BucketPolicy))
        if caller.operator:
            writes.delete(keys.bucket(name), known.mod_revision)
            return writes, None
        if not known.record.policy:
            raise ApiError("NoSuchBucketPolicy", f"bucket {name}: has no policy; set one: netorch endpoint bucket-policy put")
        writes.change(keys.bucket(name), known.mod_revision, msgspec.structs.replace(known.record, policy=""))
        return writes, None

    attempt(store, decide)


def describe_bucket(store: Store, caller: Caller, name: str) -> BucketPolicy:
    """Return a bucket of the caller. Raises ApiError: NoSuchBucket."""
    return _seen(caller, name, get(store, keys.bucket(name), BucketPolicy)).record


def describe_buckets(store: Store, caller: Caller) -> list[BucketPolicy]:
    """Return the buckets that the caller sees, by name. Raises UnreadableRecord."""
    found = (stored.record for stored in listed(store, keys.bucket_prefix(), BucketPolicy).values())
    return [bucket for bucket in found if caller.sees(bucket.owner)]


def _seen(caller: Caller, name: str, known: Stored[BucketPolicy] | None) -> Stored[BucketPolicy]:
    """Return a bucket if the caller sees it. Raises ApiError: NoSuchBucket."""
    if known is None or not caller.sees(known.record.owner):
        raise not_found("bucket", name)
    return known
