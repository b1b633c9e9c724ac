"""TLS that may be forwarded: none in which a copy or another request could bypass a policy of any bucket."""

from __future__ import annotations

import json

import pytest

from netorch.services.proxy import policies as judging
from netorch.services.proxy.policies import Policies
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint

ARN = "arn:aws:s3:::"
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
HOSTS = ("s3.internal", "mine.s3.internal", "victim.s3.internal")


def document(**statement: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Principal": "*", **statement}]})


def endpoint(vpc: str = "vpc-a", policy: str = "", service: str = "s3", tls: str = "192.0.2.1:443") -> ProxyEndpoint:
    return ProxyEndpoint(
        id=f"vpce-{vpc}",
        vpc=vpc,
        service=service,
        hosts=HOSTS[:1],
        prefixes=(),
        upstream="http://192.0.2.1",
        tls=tls,
        policy=policy,
    )


def bucket(name: str, policy: str = "", service: str = "s3") -> ProxyBucket:
    return ProxyBucket(service=service, bucket=name, policy=policy)


def only(vpc: str, name: str = "victim") -> ProxyBucket:
    """Return a bucket whose policy denies everything to all VPCs but one."""
    resources = [f"{ARN}{name}", f"{ARN}{name}/*"]
    condition = {"StringNotEquals": {"aws:sourceVpc": vpc}}
    return bucket(name, document(Effect="Deny", Action="*", Resource=resources, Condition=condition))


def passes(policies: Policies, found: ProxyEndpoint) -> bool:
    """Return whether TLS to the service's names is forwarded: to each of them, or to none."""
    (permitted,) = {policies.tunnel(host, found).refusal is None for host in HOSTS}
    assert policies.permits_tunnels(found.id) is permitted
    return permitted


@pytest.mark.parametrize("buckets_first", [True, False])
def test_one_bucket_that_is_closed_to_an_endpoint_closes_its_tls_for_all_names(buckets_first: bool) -> None:
    policies, found = Policies(), [endpoint("vpc-a"), endpoint("vpc-b"), endpoint("vpc-c", service="other")]
    buckets = [only("vpc-b"), bucket("mine", document(**{**ALL, "Resource": [f"{ARN}mine", f"{ARN}mine/*"]}))]
    for put in (buckets, found) if buckets_first else (found, buckets):
        for obj in put:
            if isinstance(obj, ProxyBucket):
                policies.put_bucket(obj)
            else:
                policies.put_endpoint(obj)
    assert [passes(policies, one) for one in found] == [False, True, True]
    assert "victim" in policies.tunnel("mine.s3.internal", found[0]).reason
    policies.put_bucket(only("vpc-a"))
    assert [passes(policies, one) for one in found] == [True, False, True]
    policies.drop_bucket(bucket("victim"))
    assert [passes(policies, one) for one in found] == [True, True, True]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", True),
        (document(**ALL), True),
        (document(**{**ALL, "Resource": [f"{ARN}mine", f"{ARN}mine/*"]}), False),
        (document(**{**ALL, "Action": "s3:GetObject"}), False),
        ("no policy", False),
    ],
)
def test_an_endpoints_own_policy_must_permit_everything_with_all_resources(policy: str, expected: bool) -> None:
    policies, found = Policies(), endpoint(policy=policy)
    policies.put_endpoint(found)
    assert passes(policies, found) is expected
    policies.put_endpoint(endpoint())
    assert passes(policies, found)


def test_no_tls_for_services_without_and_endpoints_and_policies_that_are_unknown() -> None:
    policies, found = Policies(), endpoint()
    assert not policies.permits_tunnels(found.id)
    policies.put_endpoint(found)
    assert passes(policies, found)
    policies.put_bucket(bucket("victim", "no policy"))
    assert not passes(policies, found)
    policies.put_endpoint(endpoint(tls=""))
    assert not passes(policies, found)
    policies.drop_bucket(bucket("victim"))
    policies.put_endpoint(found)
    assert passes(policies, found)
    policies.drop_endpoint(found)
    assert not policies.permits_tunnels(found.id)


def test_a_client_hello_asks_no_policy_again(monkeypatch: pytest.MonkeyPatch) -> None:
    policies, found = Policies(), endpoint()
    policies.put_endpoint(found)
    policies.put_bucket(only("vpc-a"))

    def asked(*_: object) -> bool:
        raise AssertionError("a policy was asked")

    monkeypatch.setattr(judging, "bucket_permits_all", asked)
    monkeypatch.setattr(judging, "endpoint_permits_all", asked)
    assert passes(policies, found)
