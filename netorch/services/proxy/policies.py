"""The verdicts of endpoint and bucket policies on a request, and on a TLS connection, whose requests are unknown.

netorch.model.iam decides; this module builds its input. Only the endpoint's socket identifies the client.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    """The verdict on a request."""

    reason: str  # for the access log
    refusal: Refusal | None


class Both(NamedTuple):
    """The policies that apply to a request. None: there is no policy, so it denies nothing."""

    endpoint: Policy | None
    bucket: Policy | None


class Policies:
    """The policies of all endpoints and buckets. An unreadable policy permits nothing.

    The verdicts on TLS are computed when a policy changes. So a ClientHello costs the same for any number of buckets.
    """

    def __init__(self) -> None:
        self._endpoints: dict[str, _Known] = {}
        self._buckets: dict[str, dict[str, Policy]] = {}  # by service

    def put_endpoint(self, endpoint: ProxyEndpoint) -> None:
        """Set an endpoint's policy."""
        self._endpoints[endpoint.id] = known = _known(endpoint)
        for name, policy in self._buckets.get(endpoint.service, {}).items():
            known.judge(name, policy)

    def drop_endpoint(self, endpoint: ProxyEndpoint) -> None:
        """Forget an endpoint. It then permits nothing."""
        self._endpoints.pop(endpoint.id, None)

    def put_bucket(self, bucket: ProxyBucket) -> None:
        """Set a bucket's policy."""
        policy = _read(bucket.policy, bucket.bucket)
        self._buckets.setdefault(bucket.service, {})[bucket.bucket] = policy
        for known in self._of_service(bucket.service):
            known.judge(bucket.bucket, policy)

    def drop_bucket(self, bucket: ProxyBucket) -> None:
        """Remove a bucket's policy."""
        self._buckets.get(bucket.service, {}).pop(bucket.bucket, None)
        for known in self._of_service(bucket.service):
            known.against.discard(bucket.bucket)

    def asked(self, head: Head, endpoint: ProxyEndpoint) -> Asked:
        """Return a parsed request.

        Raises:
          Refusal: it is no S3 request, or is ambiguous.
        """
        service, _ = self._of(endpoint)
        return understood(read_request(service, S3Request(method=head.method, target=head.target, headers=head.headers)))

    def both(self, asked: Asked, endpoint: ProxyEndpoint) -> Both:
        """Return the policies of the endpoint, and of the bucket that the request is for."""
        _, policy = self._of(endpoint)
        return Both(policy, self._buckets.get(endpoint.service, {}).get(asked.place.bucket))

    def verdict(self, asked: Asked, endpoint: ProxyEndpoint, source: str) -> Verdict:
        """Return the policies' verdict on an instance's request through an endpoint."""
        _, policy = self._of(endpoint)
        decision = decide(asked.needs, policy, self._buckets.get(endpoint.service, {}), _context(endpoint, source, secure=False))
        refusal = None if decision.permitted else Refusal(403, "AccessDenied", decision.answer, decision.reason)
        return Verdict(decision.reason, refusal)

    def tunnel(self, host: str, endpoint: ProxyEndpoint) -> Verdict:
        """Return the verdict on a TLS connection to a host.

        It is permitted only if the policies permit every request to every bucket: a request may name another bucket
        than the host, and a copy names two.
        """
        service, _ = self._of(endpoint)
        place = place_of(service, host, "/")
        why = place.what if isinstance(place, S3Refusal) else self._why_no_tunnel(endpoint.id)
        return Verdict(why, Refusal(403, "AccessDenied", why)) if why else Verdict("no policy is against anything", None)

    def permits_tunnels(self, endpoint: str) -> bool:
        """Return whether an endpoint permits TLS tunnels."""
        return not self._why_no_tunnel(endpoint)

    def _why_no_tunnel(self, endpoint: str) -> str:
        known = self._endpoints.get(endpoint)
        if known is None:
            return "the endpoint is unknown"
        if not known.endpoint.tls:
            return "the service accepts no TLS through endpoints"
        if not known.permits_all:
            return "the endpoint's policy does not permit everything with all buckets"
        name = next(iter(known.against), "")
        return f"the policy of the bucket {name} does not permit everything to the endpoint" if name else ""

    def _of(self, endpoint: ProxyEndpoint) -> tuple[Service, Policy | None]:
        known = self._endpoints.get(endpoint.id)
        return (known.service, known.policy) if known is not None else (Service(names=()), _read(_NOTHING))

    def _of_service(self, service: str) -> Iterator[_Known]:
        return (known for known in self._endpoints.values() if known.endpoint.service == service)


class _Known(NamedTuple):
    """An endpoint, and the values derived from it."""

    endpoint: ProxyEndpoint
    service: Service
    policy: Policy | None
    permits_all: bool  # whether its policy permits every possible request over TLS
    against: set[str]  # the buckets whose policies do not, if the service takes TLS

    def judge(self, name: str, policy: Policy) -> None:
        """Record whether a bucket's policy permits every request over TLS through the endpoint."""
        if not self.endpoint.tls or bucket_permits_all(policy, name, _context_of_all(self.endpoint, secure=True)):
            self.against.discard(name)
        else:
            self.against.add(name)


def understood(found: Asked | S3Refusal) -> Asked:
    """Return the parsed request. Raises Refusal."""
    if isinstance(found, S3Refusal):
        raise Refusal(found.status, found.code, found.what)
    return found


def _known(endpoint: ProxyEndpoint) -> _Known:
    policy = _read(endpoint.policy) if endpoint.policy else None
    service = Service(names=endpoint.hosts, prefixes=tuple(parse_prefix(prefix) for prefix in endpoint.prefixes))
    permits_all = policy is None or endpoint_permits_all(policy, _context_of_all(endpoint, secure=True))
    return _Known(endpoint, service, policy, permits_all, set())


def _context(endpoint: ProxyEndpoint, source: str, secure: bool) -> Context:
    return {**_context_of_all(endpoint, secure), ConditionKey.VPC_SOURCE_IP: source}


def _context_of_all(endpoint: ProxyEndpoint, secure: bool) -> Context:
    """Return the context that all requests through an endpoint share, whichever instance sends them."""
    return {
        ConditionKey.SOURCE_VPC: endpoint.vpc,
        ConditionKey.SOURCE_VPCE: endpoint.id,
        ConditionKey.SECURE_TRANSPORT: "true" if secure else "false",
    }


def _read(text: str, bucket: str = "") -> Policy:
    found = read_policy(text, bucket)
    return found if isinstance(found, Policy) else _read(_NOTHING)
