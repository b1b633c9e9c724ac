"""Refused policies, and the error texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netorch.model.endpoints.endpoint_rules import MAX_POLICY
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Policy

GOOD: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}


def texts(text: str, bucket: str = "") -> list[str]:
    found = read_policy(text, bucket)
    return [] if isinstance(found, Policy) else [problem.text("policy.json") for problem in found]


def wrong(change: dict[str, Any], bucket: str = "", version: str = "2012-10-17") -> str:
    statement = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    (found,) = texts(json.dumps({"Version": version, "Statement": [statement]}), bucket)
    return found.removeprefix("policy.json: $.Statement[0]")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Effect": ...}, '.Effect: the effect is missing; write "Allow" or "Deny"'),
        ({"Effect": "allow"}, '.Effect: \'allow\' is not an effect; write "Allow" or "Deny"'),
        ({"Effect": ["Allow"]}, '.Effect: [\'Allow\'] is not an effect; write "Allow" or "Deny"'),
        (
            {"Principal": ...},
            '.Principal: the principal is missing; write "Principal": "*", and restrict the sources in Condition',
        ),
        (
            {"Principal": {"AWS": "arn:aws:iam::1:root"}},
            ".Principal: {'AWS': 'arn:aws:iam::1:root'} names identities, and netorch has none; "
            'write "Principal": "*", and restrict the sources in Condition',
        ),
        (
            {"Principal": ..., "NotPrincipal": "*"},
            ".NotPrincipal: NotPrincipal excludes identities, and netorch has none; "
            'write "Principal": "*", and restrict the sources in Condition',
        ),
        ({"Action": ...}, ": there is no Action; write one of Action and NotAction"),
        ({"NotAction": "*"}, ": there are both Action and NotAction; write one of Action and NotAction"),
        ({"Action": []}, ".Action: the list is empty; write at least one value"),
        ({"Action": [7]}, '.Action[0]: 7 is not a text; write e.g. "*"'),
        ({"Action": "ec2:*"}, ".Action: 'ec2:*' is not an action of S3; write e.g. s3:GetObject, s3:* or *"),
        ({"Action": "s3:GetObjects"}, ".Action: S3 has no action 's3:GetObjects'; did you mean s3:GetObject?"),
        ({"Action": "s3:Zzzzz*"}, ".Action: S3 has no action 's3:Zzzzz*'; write e.g. s3:GetObject or s3:*"),
        ({"Resource": ...}, ": there is no Resource; write one of Resource and NotResource"),
        ({"Resource": "b/*"}, ".Resource: 'b/*' is not a resource of S3; write arn:aws:s3:::BUCKET, arn:aws:s3:::BUCKET/* or *"),
        (
            {"Resource": ["*", "arn:aws:s3:::b/${aws:username}"]},
            ".Resource[1]: 'arn:aws:s3:::b/${aws:username}' has a policy variable, and netorch supports none; "
            "write ${$} for a '$' itself, or leave it out",
        ),
        ({"Sid": "a.b"}, ".Sid: 'a.b' is not a Sid; use letters, digits, spaces, '-' and '_'"),
        ({"Conditions": {}}, ".Conditions: there is no element 'Conditions'; did you mean Condition?"),
        (
            {"Condition": {"StringEqual": {"aws:sourceVpc": "x"}}},
            ".Condition.StringEqual: 'StringEqual' is not an operator that netorch supports; did you mean StringEquals?",
        ),
        (
            {"Condition": {"NullIfExists": {"aws:sourceVpc": "true"}}},
            ".Condition.NullIfExists: 'NullIfExists' is not an operator that netorch supports; did you mean Null?",
        ),
        (
            {"Condition": {"StringEquals": {"aws:SourceVpcs": "x"}}},
            ".Condition.StringEquals[\"aws:SourceVpcs\"]: 'aws:SourceVpcs' is not a condition key that netorch supports; "
            "did you mean aws:sourceVpc?",
        ),
        (
            {"Condition": {"IpAddress": {"aws:sourceVpc": "10.0.0.0/8"}}},
            '.Condition.IpAddress["aws:sourceVpc"]: aws:sourceVpc has no addresses or prefixes; '
            "use another operator; this one is for aws:VpcSourceIp, aws:SourceIp",
        ),
        (
            {"Condition": {"IpAddress": {"aws:VpcSourceIp": ["10.0.0.1/8"]}}},
            ".Condition.IpAddress[\"aws:VpcSourceIp\"][0]: '10.0.0.1/8' is neither an address nor a prefix without host bits; "
            'write e.g. "10.0.0.0/16"',
        ),
        (
            {"Condition": {"Bool": {"aws:SecureTransport": "yes"}}},
            '.Condition.Bool["aws:SecureTransport"]: \'yes\' is neither true nor false; write "true" or "false"',
        ),
        (
            {"Condition": {"NumericEquals": {"s3:max-keys": 1.5}}},
            '.Condition.NumericEquals["s3:max-keys"]: 1.5 is not a whole number; write e.g. 100',
        ),
        (
            {"Condition": {"StringEquals": {"s3:prefix": 1}}},
            '.Condition.StringEquals["s3:prefix"]: 1 is not a text; write it in quotes',
        ),
        (
            {"Condition": {"StringEquals": {"s3:prefix": []}}},
            '.Condition.StringEquals["s3:prefix"]: the list is empty; write at least one value',
        ),
        ({"Condition": {"Null": {}}}, '.Condition.Null: {} has no condition key; write e.g. {"Null": {KEY: VALUE}}'),
        (
            {"Condition": []},
            '.Condition: [] is not a block of conditions; write {"StringEquals": {"aws:sourceVpc": "vpc-..."}}',
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(change: dict[str, Any], expected: str) -> None:
    assert wrong(change) == expected


def test_the_refusal_of_an_unknown_operator_lists_the_known_ones() -> None:
    assert "; choose among StringEquals, StringNotEquals, " in wrong({"Condition": {"ForAllValues:X": {"s3:prefix": "x"}}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "$: this is not JSON: expecting value, in line 1, column 1; correct the text there, or just before"),
        ("[]", "$: a policy is an object, not []"),
        ("{}", "$.Statement: there is no statement"),
        ('{"Statement": []}', "$.Statement: there is no statement"),
        ('{"Statement": [1]}', "$.Statement[0]: a statement is an object, not 1; write {...}"),
        ('{"Version": "2012", "Statement": {}}', "$.Version: '2012' is not a version; write \"2012-10-17\""),
        (
            '{"Version": "2012-10-17", "Version": "2012-10-17"}',
            "$: the key 'Version' occurs twice in one object; keep one of them",
        ),
        ("[" * 20000, "$: the nesting is too deep"),
        ('{"Id": 1, "Statement": []}', "$.Id: 1 is not a text"),
        (" " * (MAX_POLICY + 1), f"$: the policy has {MAX_POLICY + 1} characters; use at most 20,480"),
    ],
)
def test_a_text_that_is_no_policy(text: str, expected: str) -> None:
    assert any(found.startswith(f"policy.json: {expected}") for found in texts(text)), texts(text)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(texts('{"Statement": [{"Effect": "allow"}, {"Action": "x"}], "Extra": 1}')) == 9


def test_a_bucket_policy_is_about_its_bucket_only() -> None:
    for resource in ("*", "arn:aws:s3:::other/*", "arn:aws:s3:::b*", "arn:aws:s3:::bb"):
        expected = f".Resource: '{resource}' is not in bucket b; write arn:aws:s3:::b or arn:aws:s3:::b/*"
        assert wrong({"Resource": resource}, "b") == expected
    for resource in ("arn:aws:s3:::b", "arn:aws:s3:::b/*"):
        assert texts(json.dumps({"Statement": {**GOOD, "Resource": resource}}), "b") == []


def test_a_sid_stands_once() -> None:
    found = texts(json.dumps({"Statement": [{**GOOD, "Sid": "a"}, {**GOOD, "Sid": "a"}]}))
    assert found == ["policy.json: $.Statement[1].Sid: 'a' is the Sid of two statements; choose another one"]


def test_one_statement_needs_no_list_and_everybody_has_three_spellings() -> None:
    for principal in ("*", {"AWS": "*"}, {"AWS": ["*"]}):
        assert texts(json.dumps({"Id": "x", "Statement": {**GOOD, "Principal": principal}})) == []
