"""Policies of endpoints and buckets, and the decision about a request.

A request needs one or more permissions, such as `s3:GetObject` for an object (`netorch.model.iam.s3`). It passes if all of them
are granted. For each, in this order:

1. A matching Deny statement of either policy denies it.
2. The endpoint's policy must allow it. An endpoint without a policy allows everything, as in EC2.
3. A bucket's policy only restricts. The server behind the endpoint still requires its own credentials, because netorch knows no
   identities. A bucket without a policy, or with other Deny statements only, restricts nothing. If the policy has Allow
   statements, one of them must allow the permission.

So both usual forms of "only from this VPC" work. `Deny` with StringNotEquals aws:sourceVpc leaves this VPC's permissions
unchanged. `Allow` with StringEquals aws:sourceVpc permits this VPC what the statement allows, and nothing else to any client.
The latter differs from AWS, where the bucket's own account does not need the bucket's policy. netorch cannot recognize that
account, so an Allow statement excludes all other requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

import msgspec

from netorch.model.iam.conditions import Condition, Context
from netorch.model.iam.glob import Glob

_KINDS: Final = {"endpoint": "VPC endpoint policy", "bucket": "resource-based policy"}  # AWS's terms


class Effect(Enum):
    """The effect of a statement."""

    ALLOW = "Allow"
    DENY = "Deny"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One statement. Its principal is everybody."""

    number: int  # its position in the policy, from 1
    sid: str
    effect: Effect
    actions: tuple[Glob, ...]
    but_actions: bool  # NotAction: matches all other actions
    resources: tuple[Glob, ...]
    but_resources: bool  # NotResource: matches all other resources
    conditions: tuple[Condition, ...]

    def is_about(self, need: Need, context: Context) -> bool:
        """Return whether the statement matches a permission that a request needs."""
        return (
            any(glob.matches(need.action) for glob in self.actions) != self.but_actions
            and any(glob.matches(need.resource) for glob in self.resources) != self.but_resources
            and all(condition.holds(context) for condition in self.conditions)
        )

    @property
    def effort(self) -> int:
        """Return the maximum number of steps of `is_about`."""
        globs = (*self.actions, *self.resources)
        return 1 + sum(glob.effort for glob in globs) + sum(condition.effort for condition in self.conditions)


class Policy(msgspec.Struct, frozen=True):
    """A policy. `netorch.model.iam.parse.read_policy` parses it from JSON."""

    statements: tuple[Statement, ...]

    def first(self, effect: Effect, need: Need, context: Context) -> Statement | None:
        """Return the first statement with an effect that matches a permission, or None."""
        return next((one for one in self.statements if one.effect is effect and one.is_about(need, context)), None)

    @property
    def allows_anything(self) -> bool:
        """Return whether the policy has an Allow statement."""
        return any(one.effect is Effect.ALLOW for one in self.statements)

    @property
    def effort(self) -> int:
        """Return the maximum number of steps of an evaluation for one permission."""
        return sum(one.effort for one in self.statements)

    def may_allow(self, actions: Iterable[str]) -> bool:
        """Return whether a statement allows one of these actions on any resource, if its conditions hold."""
        return any(
            one.effect is Effect.ALLOW
            and any(any(glob.matches(action) for glob in one.actions) != one.but_actions for action in actions)
            for one in self.statements
        )


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One permission that a request needs."""

    action: str  # s3:GetObject
    resource: str  # arn:aws:s3:::BUCKET/KEY; * without a bucket
    bucket: str = ""  # the bucket whose policy also applies; empty: none
    context: Context = {}  # values of condition keys from the request itself, e.g. s3:prefix


class Decision(msgspec.Struct, frozen=True):
    """Whether a request passes. `reason` is the sentence for the access log and names the deciding statement.

    `answer` is the refusal for the client in AWS's words. It names the kind of policy, but nothing of the policy's content.
    """

    permitted: bool
    reason: str
    answer: str = ""


def decide(needs: tuple[Need, ...], endpoint: Policy | None, buckets: Mapping[str, Policy], context: Context) -> Decision:
    """Return whether a request passes the policy of its endpoint and the policies of its buckets.

    `buckets` maps bucket names to policies. `context` has the endpoint's values for the request; they override values from the
    request. A request without needs is refused, because it was not understood.
    """
    if not needs:
        return Decision(False, "the request is not a known operation", "The request is not a known operation")
    reason = ""
    for need in needs:
        known = {**need.context, **context}
        decision = _decide(need, endpoint, buckets.get(need.bucket) if need.bucket else None, known)
        if not decision.permitted:
            return decision
        reason = reason or decision.reason
    return Decision(True, reason)


def _decide(need: Need, endpoint: Policy | None, bucket: Policy | None, context: Context) -> Decision:
    wanted = f"{need.action} on {need.resource}"
    named = [(policy, name) for policy, name in ((endpoint, "endpoint"), (bucket, "bucket")) if policy is not None]
    for policy, name in named:
        if denying := policy.first(Effect.DENY, need, context):
            return _refused(need, f"{_of(denying, name)} denies {wanted}", f"with an explicit deny in a {_KINDS[name]}")
    reason = f"no policy denies {wanted}"
    for policy, name in named:
        allowing = policy.first(Effect.ALLOW, need, context)
        if allowing is None and (name == "endpoint" or policy.allows_anything):
            why = f"because no {_KINDS[name]} allows the {need.action} action"
            return _refused(need, f"no statement of the {name}'s policy allows {wanted}", why)
        if allowing:
            reason = f"{_of(allowing, name)} allows {wanted}"
    return Decision(True, reason)


def _refused(need: Need, reason: str, why: str) -> Decision:
    return Decision(False, reason, f'You are not authorized to perform: {need.action} on resource: "{need.resource}" {why}')


def _of(statement: Statement, name: str) -> str:
    return f"statement {statement.number}{f' ({statement.sid})' if statement.sid else ''} of the {name}'s policy"
