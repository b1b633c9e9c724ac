"""Policies of endpoints and of buckets, and what they come to for one request.

A request needs one or more permissions, such as `s3:GetObject` for an object (`netorch.model.iam.s3`). It passes if it has all of
them. For each, in this order:

1. A statement of either policy that denies it decides.
2. The endpoint's policy must allow it. An endpoint without a policy allows everything, as in EC2.
3. A bucket's policy takes away, and gives nothing. Whoever comes as far as the server behind needs its credentials there, because
   netorch knows no identities. A bucket without a policy takes nothing away, nor does one whose policy denies other things only.
   But if it has statements that allow, one of them must allow the request.

So both usual ways to write "only from this VPC" do what they say. `Deny` with StringNotEquals aws:sourceVpc leaves that VPC what
it could do before. `Allow` with StringEquals aws:sourceVpc leaves that VPC what the statement allows, and nobody anything else.
The latter differs from AWS, where the bucket's own account does not need the bucket's policy: here nobody can be told to be of
that account, so a policy that says who may is taken to say who else may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

import msgspec

from netorch.model.iam.conditions import Condition, Context
from netorch.model.iam.glob import Glob

_KINDS: Final = {"endpoint": "VPC endpoint policy", "bucket": "resource-based policy"}  # AWS's words


class Effect(Enum):
    """What a statement says about what it is about."""

    ALLOW = "Allow"
    DENY = "Deny"


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One statement; its principal is everybody."""

    number: int  # its place in the policy, from 1
    sid: str
    effect: Effect
    actions: tuple[Glob, ...]
    but_actions: bool  # NotAction: about all but these
    resources: tuple[Glob, ...]
    but_resources: bool  # NotResource
    conditions: tuple[Condition, ...]

    def is_about(self, need: Need, context: Context) -> bool:
        """Return whether the statement says something about a permission that a request needs."""
        return (
            any(glob.matches(need.action) for glob in self.actions) != self.but_actions
            and any(glob.matches(need.resource) for glob in self.resources) != self.but_resources
            and all(condition.holds(context) for condition in self.conditions)
        )

    @property
    def effort(self) -> int:
        """Return how many steps it takes at most to see whether the statement is about a permission."""
        globs = (*self.actions, *self.resources)
        return 1 + sum(glob.effort for glob in globs) + sum(condition.effort for condition in self.conditions)


class Policy(msgspec.Struct, frozen=True):
    """A policy; `netorch.model.iam.parse.read_policy` makes one of its JSON text."""

    statements: tuple[Statement, ...]

    def first(self, effect: Effect, need: Need, context: Context) -> Statement | None:
        """Return the first statement of that effect that is about a permission, or nothing."""
        return next((one for one in self.statements if one.effect is effect and one.is_about(need, context)), None)

    @property
    def allows_anything(self) -> bool:
        """Return whether there is a statement that allows."""
        return any(one.effect is Effect.ALLOW for one in self.statements)

    @property
    def effort(self) -> int:
        """Return how many steps it takes at most to see what the policy says about one permission."""
        return sum(one.effort for one in self.statements)

    def may_allow(self, actions: Iterable[str]) -> bool:
        """Return whether a statement allows one of some actions on anything, if its conditions hold."""
        return any(
            one.effect is Effect.ALLOW
            and any(any(glob.matches(action) for glob in one.actions) != one.but_actions for action in actions)
            for one in self.statements
        )


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One permission that a request needs."""

    action: str  # s3:GetObject
    resource: str  # arn:aws:s3:::BUCKET/KEY; * for what is of no bucket
    bucket: str = ""  # whose policy is asked as well; nothing: of no bucket
    context: Context = {}  # values of condition keys that the request itself gives: s3:prefix


class Decision(msgspec.Struct, frozen=True):
    """Whether a request passes, and the sentence for the access log that says which statement decided.

    `answer` is what who asks is told of a refusal, in AWS's words: the kind of policy, and nothing of what others wrote in it.
    """

    permitted: bool
    reason: str
    answer: str = ""


def decide(needs: tuple[Need, ...], endpoint: Policy | None, buckets: Mapping[str, Policy], context: Context) -> Decision:
    """Return whether a request passes the policy of its endpoint, and those of the buckets that it is about.

    `buckets` are policies by the names of buckets. `context` is what the endpoint knows of the request; nothing in the
    request replaces it. A request that needs nothing is refused: it was not understood.
    """
    if not needs:
        return Decision(False, "the request is of no known kind", "The request is of no known kind")
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
    reason = f"no policy is against {wanted}"
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
