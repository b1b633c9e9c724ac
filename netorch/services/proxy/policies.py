"""What the policies of an endpoint and of buckets say about a request, and about a connection of which nothing is known.

netorch.model.iam decides; here its questions are put together. Who asks is what the endpoint's socket says, and nothing else.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from netorch.model.addr import parse_prefix
from netorch.model.iam.conditions import ConditionKey, Context
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Policy, decide
from netorch.model.iam.s3.refusal import Refusal as S3Refusal
from netorch.model.iam.s3.request import Asked, S3Request, read_request
from netorch.model.iam.s3.uri import Service, place_of
from netorch.model.iam.whole import bucket_permits_all, endpoint_permits_all
from netorch.services.proxy.head import Head, Refusal
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint

_NOTHING: Final = '{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}'


class Verdict(NamedTuple):
    """What is said about a request."""

    reason: str  # for the access log
    refusal: Refusal | None


class Policies:
    """The policies of all endpoints and buckets. One that cannot be read permits nothing."""

    def __init__(self) -> None:
        self._endpoints: dict[str, tuple[Service, Policy | None]] = {}
        self._buckets: dict[str, dict[str, Policy]] = {}  # by service

    def put_endpoint(self, endpoint: ProxyEndpoint) -> None:
        """Let an endpoint have the policy that it is told of."""
        policy = _read(endpoint.policy) if endpoint.policy else None
        service = Service(names=endpoint.hosts, prefixes=tuple(parse_prefix(prefix) for prefix in endpoint.prefixes))
        self._endpoints[endpoint.id] = service, policy

    def drop_endpoint(self, endpoint: ProxyEndpoint) -> None:
        """Forget an endpoint: nothing is permitted by it."""
        self._endpoints.pop(endpoint.id, None)

    def put_bucket(self, bucket: ProxyBucket) -> None:
        """Let a bucket have a policy."""
        self._buckets.setdefault(bucket.service, {})[bucket.bucket] = _read(bucket.policy, bucket.bucket)

    def drop_bucket(self, bucket: ProxyBucket) -> None:
        """Let a bucket have none."""
        self._buckets.get(bucket.service, {}).pop(bucket.bucket, None)

    def asked(self, head: Head, endpoint: ProxyEndpoint) -> Asked:
        """Return what a request asks for.

        Raises:
          Refusal: it is none of S3's, or may be read in two ways.
        """
        service, _ = self._of(endpoint)
        return understood(read_request(service, S3Request(method=head.method, target=head.target, headers=head.headers)))

    def verdict(self, asked: Asked, endpoint: ProxyEndpoint, source: str) -> Verdict:
        """Return what policies say about what an instance with an address asks for by an endpoint."""
        _, policy = self._of(endpoint)
        decision = decide(asked.needs, policy, self._buckets.get(endpoint.service, {}), _context(endpoint, source, secure=False))
        refusal = None if decision.permitted else Refusal(403, "AccessDenied", decision.answer, decision.reason)
        return Verdict(decision.reason, refusal)

    def tunnel(self, host: str, endpoint: ProxyEndpoint, source: str) -> Verdict:
        """Return whether TLS may be passed on in which a client asks for a host.

        Only if everything that could be said in it is permitted: of one bucket if the name has one in front, of all if not.
        """
        if not endpoint.tls:
            return _closed("the service takes no TLS by endpoints")
        service, policy = self._of(endpoint)
        place = place_of(service, host, "/")
        if isinstance(place, S3Refusal):
            return _closed(place.what)
        buckets = self._buckets.get(endpoint.service, {})
        if not place.bucket:
            if policy is None and not buckets:
                return Verdict("no policy is against anything", None)
            return _closed("there are policies, and the host name says nothing of what is asked for")
        context = _context(endpoint, source, secure=True)
        own = buckets.get(place.bucket)
        by_endpoint = policy is None or endpoint_permits_all(policy, place.bucket, context)
        if by_endpoint and (own is None or bucket_permits_all(own, place.bucket, context)):
            return Verdict(f"everything is permitted with the bucket {place.bucket}", None)
        return _closed(f"not everything is permitted with the bucket {place.bucket}")

    def _of(self, endpoint: ProxyEndpoint) -> tuple[Service, Policy | None]:
        return self._endpoints.get(endpoint.id) or (Service(names=()), _read(_NOTHING))


def understood(found: Asked | S3Refusal) -> Asked:
    """Return what is asked for. Raises Refusal."""
    if isinstance(found, S3Refusal):
        raise Refusal(found.status, found.code, found.what)
    return found


def _closed(reason: str) -> Verdict:
    return Verdict(reason, Refusal(403, "AccessDenied", reason))


def _context(endpoint: ProxyEndpoint, source: str, secure: bool) -> Context:
    return {
        ConditionKey.SOURCE_VPC: endpoint.vpc,
        ConditionKey.SOURCE_VPCE: endpoint.id,
        ConditionKey.VPC_SOURCE_IP: source,
        ConditionKey.SECURE_TRANSPORT: "true" if secure else "false",
    }


def _read(text: str, bucket: str = "") -> Policy:
    found = read_policy(text, bucket)
    return found if isinstance(found, Policy) else _read(_NOTHING)
