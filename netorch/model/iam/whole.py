"""Whether a policy permits everything: an endpoint's policy for all buckets, a bucket's policy for its bucket.

This is for connections whose requests are not visible. The answer is conservative: a Deny statement counts unless it can never
match such a request, and an Allow statement counts only if its text allows everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from netorch.model.iam.conditions import Condition, Context
from netorch.model.iam.glob import Glob
from netorch.model.iam.policy import Effect, Policy, Statement
from netorch.model.iam.s3.uri import ARN

_ALL_ACTIONS: Final = frozenset(("*", "s3:*"))
_EVERYTHING: Final = frozenset(("*",))


def endpoint_permits_all(policy: Policy, context: Context) -> bool:
    """Return whether an endpoint's policy permits all actions on all resources, if only `context` is known of a request.

    `arn:aws:s3:::*` does not cover everything: the list of all buckets belongs to no bucket.
    """
    return not _may_deny(policy, context) and _allows_all(policy, _EVERYTHING, context)


def bucket_permits_all(policy: Policy, bucket: str, context: Context) -> bool:
    """Return whether a bucket's own policy restricts nothing."""
    resources = frozenset((f"{ARN}{bucket}", f"{ARN}{bucket}/*"))
    return not _may_deny(policy, context) and (not policy.allows_anything or _allows_all(policy, resources, context))


def _may_deny(policy: Policy, context: Context) -> bool:
    return any(
        one.effect is Effect.DENY and not any(_fails(each, context) for each in one.conditions) for one in policy.statements
    )


def _allows_all(policy: Policy, resources: frozenset[str], context: Context) -> bool:
    return any(one.effect is Effect.ALLOW and _is_about_all(one, resources, context) for one in policy.statements)


def _is_about_all(one: Statement, resources: frozenset[str], context: Context) -> bool:
    return (
        not (one.but_actions or one.but_resources)
        and not _ALL_ACTIONS.isdisjoint(text.lower() for text in _texts(one.actions))
        and _texts(one.resources) >= resources
        and all(each.key in context and each.holds(context) for each in one.conditions)
    )


def _fails(condition: Condition, context: Context) -> bool:
    """Return whether a condition is false for every request with this context."""
    return condition.key in context and not condition.holds(context)


def _texts(globs: Sequence[Glob]) -> frozenset[str]:
    return frozenset(glob.text for glob in globs)
