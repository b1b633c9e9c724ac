"""Whether a policy permits everything when the request is unknown: never if it denies anything."""

from __future__ import annotations

import json

import pytest

from netorch.model.iam.conditions import ConditionKey
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Policy
from netorch.model.iam.whole import bucket_permits_all, endpoint_permits_all

ARN = "arn:aws:s3:::"
CONTEXT = {ConditionKey.SOURCE_VPC: "vpc-a", ConditionKey.SECURE_TRANSPORT: "true"}
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
OTHERS = {"Effect": "Deny", "Action": "*", "Resource": [f"{ARN}xxx", f"{ARN}xxx/*"]}
FROM_A, NOT_A = ({"Condition": {operator: {"aws:sourceVpc": "vpc-a"}}} for operator in ("StringEquals", "StringNotEquals"))
LISTING = {"Condition": {"StringNotEquals": {"s3:prefix": "mine"}}}


def policy(*statements: dict[str, object], bucket: str = "") -> Policy:
    found = read_policy(
        json.dumps({"Version": "2012-10-17", "Statement": [{"Principal": "*", **one} for one in statements]}), bucket
    )
    assert isinstance(found, Policy), found
    return found


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([ALL], True),
        ([{**ALL, "Action": "S3:*"}], True),
        ([{**ALL, "Resource": [f"{ARN}xxx", "*"]}], True),
        ([{**ALL, "Resource": f"{ARN}*"}], False),  # listing all buckets has no bucket's ARN
        ([{**ALL, "Resource": [f"{ARN}xxx", f"{ARN}xxx/*"]}], False),
        ([{**ALL, "Resource": [f"{ARN}xxx/*"]}], False),
        ([{**ALL, "Resource": [f"{ARN}yyy", f"{ARN}yyy/*"]}], False),
        ([{**ALL, "Action": ["s3:GetObject", "s3:PutObject"]}], False),
        ([{"Effect": "Allow", "NotAction": "s3:DeleteBucket", "Resource": "*"}], False),
        ([{**ALL, **FROM_A}], True),
        ([{**ALL, **NOT_A}], False),
        ([{**ALL, **LISTING}], False),
        ([ALL, {**OTHERS, "Action": "s3:DeleteObject"}], False),
        ([ALL, {**OTHERS, **NOT_A}], True),
        ([ALL, {**OTHERS, **FROM_A}], False),
        ([ALL, {**OTHERS, **LISTING}], False),
    ],
)
def test_an_endpoints_policy(statements: list[dict[str, object]], expected: bool) -> None:
    assert endpoint_permits_all(policy(*statements), CONTEXT) is expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({**OTHERS, **NOT_A}, True),
        ({**OTHERS, **FROM_A}, False),
        ({**OTHERS, "Effect": "Allow"}, True),
        ({**OTHERS, "Effect": "Allow", **FROM_A}, True),
        ({**OTHERS, "Effect": "Allow", **NOT_A}, False),
        ({**OTHERS, "Effect": "Allow", "Resource": f"{ARN}xxx/*"}, False),
        ({**OTHERS, "Effect": "Allow", "Action": "s3:GetObject"}, False),
    ],
)
def test_a_buckets_own_policy(statement: dict[str, object], expected: bool) -> None:
    assert bucket_permits_all(policy(statement, bucket="xxx"), "xxx", CONTEXT) is expected
