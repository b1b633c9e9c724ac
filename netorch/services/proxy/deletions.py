"""Requests with a list of keys: whether the body must be read, and the pieces in which it is judged."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from netorch.model.iam.s3.deletion import DELETIONS
from netorch.model.iam.s3.request import Asked
from netorch.services.proxy import limits
from netorch.services.proxy.head import Refusal
from netorch.services.proxy.policies import Both


def no_deletion(both: Both) -> Refusal | None:
    """Return the reason to refuse any list of keys without reading it, or None if the list must be read."""
    of_bucket = both.bucket
    if of_bucket is not None and not of_bucket.allows_anything:
        of_bucket = None  # this policy only takes away what it denies
    for policy, name in ((both.endpoint, "endpoint"), (of_bucket, "bucket")):
        if policy is not None and not policy.may_allow(DELETIONS):
            reason = f"no statement of the {name}'s policy allows that any object is deleted"
            return Refusal(403, "AccessDenied", "No policy allows the s3:DeleteObject action", reason)
    return None


def pieces(asked: Asked, both: Both) -> Iterator[Asked]:
    """Yield parts of a request with many needs. Each part is small enough to judge at once.

    Raises:
      Refusal: judging would take too many steps.
    """
    effort = 1 + sum(policy.effort for policy in both if policy is not None)
    if effort * len(asked.needs) > limits.EFFORT:
        raise Refusal(400, "InvalidRequest", "Name fewer keys in one request: the policies are long.")
    size = max(1, min(limits.KEYS_AT_ONCE, limits.EFFORT_AT_ONCE // effort))
    for start in range(0, len(asked.needs), size):
        yield replace(asked, needs=asked.needs[start : start + size])
