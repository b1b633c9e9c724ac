"""The decisions of policies: a table of requests, and the two most common policies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netorch.model.iam.conditions import ConditionKey, Context
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Need, Policy, decide

ARN = "arn:aws:s3:::"
VPC_A = {
    ConditionKey.SOURCE_VPC: "vpc-a",
    ConditionKey.SOURCE_VPCE: "vpce-a",
    ConditionKey.VPC_SOURCE_IP: "10.0.1.5",
    ConditionKey.SECURE_TRANSPORT: "false",
}
VPC_B = VPC_A | {ConditionKey.SOURCE_VPC: "vpc-b", ConditionKey.SOURCE_VPCE: "vpce-b"}


def policy(*statements: dict[str, Any], version: str = "2012-10-17", bucket: str = "") -> Policy:
    filled = [{"Effect": "Allow", "Principal": "*", **one} for one in statements]
    found = read_policy(json.dumps({"Version": version, "Statement": filled}), bucket)
    assert isinstance(found, Policy), found
    return found


def need(action: str = "GetObject", path: str = "b/k", **context: str) -> Need:
    keys = {key for key in ConditionKey if key.value.startswith("s3:")}
    named = {key: context[key.value[3:].replace("-", "_")] for key in keys if key.value[3:].replace("-", "_") in context}
    return Need(action=f"s3:{action}", resource=f"{ARN}{path}", bucket=path.partition("/")[0], context=named)


def passes(one: Policy, request: Need, context: Context = VPC_A) -> bool:
    return decide((request,), one, {}, context).permitted


ANY = {"Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statement", "request_", "expected"),
    [
        ({**ANY}, need(), True),
        ({"Action": "s3:*", "Resource": "*"}, need(), True),
        ({"Action": "S3:getobject", "Resource": "*"}, need(), True),
        ({"Action": "s3:Get*", "Resource": "*"}, need(), True),
        ({"Action": "s3:Get*", "Resource": "*"}, need("PutObject"), False),
        ({"Action": "s3:GetObjec?", "Resource": "*"}, need(), True),
        ({"Action": "s3:GetObject?*", "Resource": "*"}, need(), False),
        ({"Action": ["s3:PutObject", "s3:GetObject"], "Resource": "*"}, need(), True),
        ({"NotAction": "s3:GetObject", "Resource": "*"}, need(), False),
        ({"NotAction": "s3:Put*", "Resource": "*"}, need(), True),
        ({"Action": "*", "Resource": f"{ARN}b"}, need(), False),
        ({"Action": "*", "Resource": f"{ARN}b*"}, need(), True),
        ({"Action": "*", "Resource": f"{ARN}b/*"}, need(), True),
        ({"Action": "*", "Resource": f"{ARN}b/*"}, need("ListBucket", "b"), False),
        ({"Action": "*", "Resource": f"{ARN}b/*"}, need(path="bb/k"), False),
        ({"Action": "*", "Resource": f"{ARN}b/K"}, need(), False),
        ({"Action": "*", "Resource": f"{ARN}b/a*c?e*"}, need(path="b/a/b/cde"), True),
        ({"Action": "*", "Resource": f"{ARN}b/a*c?e"}, need(path="b/a/b/cdee"), False),
        ({"Action": "*", "Resource": f"{ARN}b/a*\n"}, need(path="b/a"), False),
        ({"Action": "*", "Resource": f"{ARN}b/*k"}, need(path="b/x\nk"), True),
        ({"Action": "*", "Resource": f"{ARN}b/.k"}, need(path="b/xk"), False),
        ({"Action": "*", "Resource": f"{ARN}b/${{*}}"}, need(path="b/*"), True),
        ({"Action": "*", "Resource": f"{ARN}b/${{*}}"}, need(path="b/x"), False),
        ({"Action": "*", "Resource": f"{ARN}b/${{$}}{{x}}"}, need(path="b/${x}"), True),
        ({"Action": "*", "NotResource": f"{ARN}b/*"}, need(), False),
        ({"Action": "*", "NotResource": f"{ARN}b/*"}, need(path="c/k"), True),
    ],
)
def test_actions_and_resources(statement: dict[str, Any], request_: Need, expected: bool) -> None:
    assert passes(policy(statement), request_) is expected
    denying = policy(ANY, {**statement, "Effect": "Deny"})
    assert passes(denying, request_) is not expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"StringEquals": {"aws:sourceVpc": "vpc-a"}}, True),
        ({"StringEquals": {"AWS:SOURCEVPC": "vpc-a"}}, True),
        ({"StringEquals": {"aws:SourceVpc": "VPC-A"}}, False),
        ({"StringEquals": {"aws:sourceVpc": ["vpc-x", "vpc-a"]}}, True),
        ({"StringEquals": {"aws:sourceVpc": "vpc-*"}}, False),
        ({"StringNotEquals": {"aws:sourceVpc": ["vpc-x", "vpc-a"]}}, False),
        ({"StringNotEquals": {"aws:sourceVpc": ["vpc-x", "vpc-y"]}}, True),
        ({"StringEqualsIgnoreCase": {"aws:sourceVpc": "VPC-A"}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:sourceVpc": "VPC-A"}}, False),
        ({"StringLike": {"aws:sourceVpce": "vpce-?"}}, True),
        ({"StringLike": {"aws:sourceVpce": "vpc-*"}}, False),
        ({"StringNotLike": {"aws:sourceVpce": ["x", "vpc*"]}}, False),
        ({"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/16"}}, True),
        ({"IpAddress": {"aws:VpcSourceIp": ["10.0.1.5", "10.9.0.0/16"]}}, True),
        ({"IpAddress": {"aws:VpcSourceIp": "10.0.1.4"}}, False),
        ({"IpAddress": {"aws:VpcSourceIp": "2001:db8::/32"}}, False),
        ({"NotIpAddress": {"aws:VpcSourceIp": "10.0.0.0/16"}}, False),
        ({"NotIpAddress": {"aws:VpcSourceIp": "10.1.0.0/16"}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, False),
        ({"Bool": {"aws:SecureTransport": "TRUE"}}, False),
        # Keys that no request through an endpoint has, or that this request lacks.
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, True),
        ({"IpAddressIfExists": {"aws:SourceIp": "192.0.2.0/24"}}, True),
        ({"StringEquals": {"s3:prefix": ""}}, False),
        ({"StringNotEquals": {"s3:prefix": "x"}}, True),
        ({"StringEqualsIfExists": {"s3:prefix": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:sourceVpc": "vpc-x"}}, False),
        ({"StringNotEqualsIfExists": {"aws:sourceVpc": "vpc-a"}}, False),
        ({"Null": {"s3:prefix": "true"}}, True),
        ({"Null": {"s3:prefix": False}}, False),
        ({"Null": {"aws:sourceVpce": "false"}}, True),
        ({"Null": {"aws:sourceVpce": ["true", "false"]}}, True),
        # All keys of an operator, and all operators, must match.
        ({"StringEquals": {"aws:sourceVpc": "vpc-a", "aws:sourceVpce": "vpce-a"}}, True),
        ({"StringEquals": {"aws:sourceVpc": "vpc-a", "aws:sourceVpce": "vpce-b"}}, False),
        ({"StringEquals": {"aws:sourceVpc": "vpc-a"}, "Bool": {"aws:SecureTransport": "true"}}, False),
        ({}, True),
    ],
)
def test_conditions(condition: dict[str, Any], expected: bool) -> None:
    assert passes(policy({**ANY, "Condition": condition}), need()) is expected
    assert passes(policy(ANY, {**ANY, "Effect": "Deny", "Condition": condition}), need()) is not expected


@pytest.mark.parametrize(
    ("condition", "given", "expected"),
    [
        ({"StringLike": {"s3:prefix": ["home/", "home/alice/*"]}}, {"prefix": "home/alice/x"}, True),
        ({"StringLike": {"s3:prefix": ["home/", "home/alice/*"]}}, {"prefix": "home/bob/"}, False),
        ({"StringLike": {"s3:prefix": ["home/", "home/alice/*"]}}, {}, False),
        ({"StringEquals": {"s3:prefix": "", "s3:delimiter": "/"}}, {"prefix": "", "delimiter": "/"}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": 10}}, {"max_keys": "10"}, True),
        ({"NumericLessThan": {"s3:max-keys": "10"}}, {"max_keys": "10"}, False),
        ({"NumericGreaterThan": {"s3:max-keys": 10}}, {"max_keys": "11"}, True),
        ({"NumericGreaterThanEquals": {"s3:max-keys": 10}}, {"max_keys": "9"}, False),
        ({"NumericEquals": {"s3:max-keys": 10}}, {"max_keys": "010"}, True),
        ({"NumericNotEquals": {"s3:max-keys": [10, 11]}}, {"max_keys": "11"}, False),
        ({"StringEquals": {"s3:max-keys": "10"}}, {"max_keys": "10"}, True),
    ],
)
def test_conditions_about_listings(condition: dict[str, Any], given: dict[str, str], expected: bool) -> None:
    assert passes(policy({**ANY, "Condition": condition}), need("ListBucket", "b", **given)) is expected


def test_what_the_request_says_does_not_replace_what_the_endpoint_knows() -> None:
    forged = Need(action="s3:GetObject", resource=f"{ARN}b/k", bucket="b", context={ConditionKey.SOURCE_VPC: "vpc-a"})
    assert not passes(policy({**ANY, "Condition": {"StringEquals": {"aws:sourceVpc": "vpc-a"}}}), forged, VPC_B)


def test_version_2008_has_no_variables() -> None:
    old = policy({"Action": "*", "Resource": f"{ARN}b/${{*}}"}, version="2008-10-17")
    assert passes(old, need(path="b/${anything}"))
    assert not passes(old, need(path="b/*"))


ONLY_FROM_A = {"StringNotEquals": {"aws:sourceVpc": "vpc-a"}}


def test_a_bucket_denied_to_all_but_one_vpc_is_all_that_vpcs() -> None:
    own = policy({"Effect": "Deny", "Action": "s3:*", "Resource": [f"{ARN}b", f"{ARN}b/*"], "Condition": ONLY_FROM_A}, bucket="b")
    for action, path in (("GetObject", "b/k"), ("PutObject", "b/k"), ("ListBucket", "b")):
        assert decide((need(action, path),), None, {"b": own}, VPC_A).permitted
        found = decide((need(action, path),), None, {"b": own}, VPC_B)
        assert found == decide((need(action, path),), policy(ANY), {"b": own}, VPC_B)
        assert found.reason == f"statement 1 of the bucket's policy denies s3:{action} on {ARN}{path}"
    assert decide((need(path="c/k"),), None, {"b": own}, VPC_B).permitted


def test_a_bucket_allowed_to_one_vpc_is_open_for_what_is_allowed_only() -> None:
    condition = {"StringEquals": {"aws:sourceVpc": "vpc-a"}}
    own = policy({"Sid": "Read", "Action": "s3:GetObject", "Resource": f"{ARN}b/*", "Condition": condition}, bucket="b")
    found = decide((need(),), None, {"b": own}, VPC_A)
    assert found.permitted
    assert found.reason == f"statement 1 (Read) of the bucket's policy allows s3:GetObject on {ARN}b/k"
    assert not decide((need(),), None, {"b": own}, VPC_B).permitted
    assert not decide((need("PutObject"),), None, {"b": own}, VPC_A).permitted


def test_each_permission_of_a_request_counts_with_the_policy_of_its_own_bucket() -> None:
    closed = policy({"Effect": "Deny", "Action": "*", "Resource": f"{ARN}source/*"}, bucket="source")
    copy = (need("PutObject", "target/k"), need("GetObject", "source/k"))
    assert decide(copy, None, {}, VPC_A).permitted
    assert not decide(copy, None, {"source": closed}, VPC_A).permitted
    assert decide(copy[:1], None, {"source": closed}, VPC_A).permitted


def test_a_denial_of_the_endpoint_wins_over_what_both_allow() -> None:
    endpoint = policy(ANY, {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"})
    open_bucket = policy({"Action": "*", "Resource": f"{ARN}b/*"}, bucket="b")
    assert decide((need(),), endpoint, {"b": open_bucket}, VPC_A).permitted
    assert not decide((need("DeleteObject"),), endpoint, {"b": open_bucket}, VPC_A).permitted


def test_an_endpoint_must_allow_what_a_bucket_allows() -> None:
    endpoint = policy({"Action": "*", "Resource": f"{ARN}x/*"})
    found = decide((need(),), endpoint, {"b": policy({"Action": "*", "Resource": f"{ARN}b/*"}, bucket="b")}, VPC_A)
    assert found.reason == f"no statement of the endpoint's policy allows s3:GetObject on {ARN}b/k"


def test_what_needs_nothing_was_not_understood() -> None:
    assert not decide((), None, {}, VPC_A).permitted


def test_the_same_policy_for_endpoint_and_bucket_is_asked_in_both_roles() -> None:
    only_denies = policy({"Effect": "Deny", "Action": "s3:Put*", "Resource": f"{ARN}b/*"}, bucket="b")
    assert decide((need(),), None, {"b": only_denies}, VPC_A).permitted
    assert not decide((need(),), only_denies, {"b": only_denies}, VPC_A).permitted


def test_a_pattern_of_many_stars_takes_no_time_that_grows_with_the_ways_to_read_it() -> None:
    slow = policy({"Action": "*", "Resource": f"{ARN}b/" + "*a?" * 3000 + "*b"})
    assert not passes(slow, need(path="b/" + "a" * 1024))  # trying all splits would never end
