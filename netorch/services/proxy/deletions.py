"""Requests whose bodies name many keys, at the policies: whether they need be read, and how they are judged piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from netorch.model.iam.policy import Policy
from netorch.model.iam.s3.deletion import DELETIONS
from netorch.model.iam.s3.request import Asked
from netorch.services.proxy import limits
from netorch.services.proxy.head import Refusal
from netorch.services.proxy.policies import Policies
from netorch.state.daemons.services.proxy import ProxyEndpoint


class ListPolicies(Policies):
    """Policies that are asked about lists of keys, too."""

    def no_deletion(self, asked: Asked, endpoint: ProxyEndpoint) -> Refusal | None:
        """Return why no list of keys can be permitted, whatever keys it names: nobody need read it."""
        of_endpoint, of_bucket = self._both(asked, endpoint)
        if of_bucket is not None and not of_bucket.allows_anything:
            of_bucket = None  # it takes away only what it denies
        for policy, name in ((of_endpoint, "endpoint"), (of_bucket, "bucket")):
            if policy is not None and not policy.may_allow(DELETIONS):
                reason = f"no statement of the {name}'s policy allows that any object is deleted"
                return Refusal(403, "AccessDenied", "No policy allows the s3:DeleteObject action", reason)
        return None

    def pieces(self, asked: Asked, endpoint: ProxyEndpoint) -> Iterator[Asked]:
        """Yield parts of a request of many needs, each of which may be judged at once.

        Raises:
          Refusal: it would take too many steps.
        """
        effort = 1 + sum(policy.effort for policy in self._both(asked, endpoint) if policy is not None)
        if effort * len(asked.needs) > limits.EFFORT:
            raise Refusal(400, "InvalidRequest", "Name fewer keys in one request: the policies are long.")
        size = max(1, min(limits.KEYS_AT_ONCE, limits.EFFORT_AT_ONCE // effort))
        for start in range(0, len(asked.needs), size):
            yield replace(asked, needs=asked.needs[start : start + size])

    def _both(self, asked: Asked, endpoint: ProxyEndpoint) -> tuple[Policy | None, Policy | None]:
        _, policy = self._of(endpoint)
        return policy, self._buckets.get(endpoint.service, {}).get(asked.place.bucket)
