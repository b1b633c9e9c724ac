"""Policies agree with a second implementation of IAM's rules, which knows only JSON and was written independently."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netorch.model.iam.conditions import ConditionKey, Context
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Need, Policy, decide

ACTIONS = ("s3:GetObject", "s3:PutObject", "s3:ListBucket")
KEYS = ("a", "ab", "a/b", "ba", "")
VALUES = ("vpc-a", "vpc-b", "VPC-A")
ADDRESSES = ("10.0.0.1", "10.0.1.1", "10.1.0.1")


def resembles(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern, by the set of places in the pattern that can be reached."""
    places = {0}
    for char in (*text, None):
        grown = set(places)
        for place in sorted(places):
            while place < len(pattern) and pattern[place] == "*":
                place += 1
                grown.add(place)
        if char is None:
            return len(pattern) in grown
        places = {at + (pattern[at] != "*") for at in grown if at < len(pattern) and pattern[at] in (char, "?", "*")}
    raise AssertionError


def many(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list) else [value]


def condition_is_true(operator: str, wanted: list[Any], facts: dict[str, str], key: str) -> bool:
    """Return whether one line of a condition block is true, by IAM's page about condition operators."""
    fact = facts.get(key.lower())
    if operator == "Null":
        return any(str(value).lower() == str(fact is None).lower() for value in wanted)
    optional = operator.endswith("IfExists")
    operator = operator[: -len("IfExists")] if optional else operator
    if fact is None:
        return optional or "Not" in operator
    base = operator.replace("Not", "")
    if base == "StringEquals":
        true = fact in wanted
    elif base == "StringEqualsIgnoreCase":
        true = fact.lower() in [value.lower() for value in wanted]
    elif base == "StringLike":
        true = any(resembles(value, fact) for value in wanted)
    elif base == "IpAddress":
        true = any(ipaddress.ip_address(fact) in ipaddress.ip_network(value) for value in wanted)
    else:
        assert base == "Bool"
        true = any(str(value).lower() == fact for value in wanted)
    return not true if "Not" in operator else true


def applies(statement: dict[str, Any], action: str, resource: str, facts: dict[str, str]) -> bool:
    if "Action" in statement:
        if not any(resembles(one.lower(), action.lower()) for one in many(statement["Action"])):
            return False
    elif any(resembles(one.lower(), action.lower()) for one in many(statement["NotAction"])):
        return False
    if "Resource" in statement:
        if not any(resembles(one, resource) for one in many(statement["Resource"])):
            return False
    elif any(resembles(one, resource) for one in many(statement["NotResource"])):
        return False
    for operator, lines in statement.get("Condition", {}).items():
        for key, wanted in lines.items():
            if not condition_is_true(operator, many(wanted), facts, key):
                return False
    return True


def verdict(endpoint: Any, bucket: Any, action: str, resource: str, facts: dict[str, str]) -> bool:  # noqa: ANN401 - JSON
    """Return whether a request passes: no policy denies it, and each policy that restricts it allows it."""
    effects: dict[str, set[str]] = {"endpoint": set(), "bucket": set()}
    for name, document in (("endpoint", endpoint), ("bucket", bucket)):
        for statement in [] if document is None else many(document["Statement"]):
            if applies(statement, action, resource, facts):
                effects[name].add(statement["Effect"])
    if "Deny" in effects["endpoint"] | effects["bucket"]:
        return False
    if endpoint is not None and "Allow" not in effects["endpoint"]:
        return False
    restricts = bucket is not None and any(one["Effect"] == "Allow" for one in many(bucket["Statement"]))
    return not restricts or "Allow" in effects["bucket"]


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


actions = st.sampled_from(("*", "s3:*", "s3:Get*", "s3:?etObject", "S3:PUTOBJECT", "s3:ListBucket", "s3:*Object"))
tails = st.text("ab*?/", max_size=6)
texts = st.sampled_from(VALUES) | st.text("vpc-abABVPC*?", max_size=6)
prefixes = st.sampled_from(("10.0.0.0/16", "10.0.1.0/24", "10.1.0.1", "10.1.0.1/32", "0.0.0.0/0", "::/0"))
text_operators = st.sampled_from(
    [f"String{negated}{kind}" for negated in ("", "Not") for kind in ("Equals", "EqualsIgnoreCase", "Like")]
)
lines = st.one_of(
    st.tuples(text_operators, st.sampled_from(("aws:sourceVpc", "aws:SOURCEVPC", "s3:prefix")), one_or_more(texts)),
    st.tuples(
        st.sampled_from(("IpAddress", "NotIpAddress")),
        st.sampled_from(("aws:VpcSourceIp", "aws:sourceip")),
        one_or_more(prefixes),
    ),
    st.tuples(st.just("Bool"), st.just("aws:SecureTransport"), one_or_more(st.sampled_from((True, "false", "TRUE")))),
    st.tuples(st.just("Null"), st.sampled_from(("aws:sourceVpc", "s3:prefix")), one_or_more(st.sampled_from((True, "false")))),
)


@st.composite
def statements(draw: st.DrawFn, bucket: bool) -> dict[str, Any]:
    block: dict[str, dict[str, Any]] = {}
    for operator, key, wanted in draw(st.lists(lines, max_size=2)):
        suffix = draw(st.sampled_from(("", "IfExists"))) if operator != "Null" else ""
        block.setdefault(operator + suffix, {})[key] = wanted
    own = st.just("arn:aws:s3:::b") | tails.map(lambda tail: f"arn:aws:s3:::b/{tail}")
    resources = own if bucket else own | st.just("*") | tails.map(lambda tail: f"arn:aws:s3:::b{tail}")
    return {
        "Effect": draw(st.sampled_from(("Allow", "Deny"))),
        "Principal": "*",
        draw(st.sampled_from(("Action", "Action", "NotAction"))): draw(one_or_more(actions)),
        draw(st.sampled_from(("Resource", "Resource", "NotResource"))): draw(one_or_more(resources)),
        **({"Condition": block} if block else {}),
    }


def documents(bucket: bool) -> st.SearchStrategy[Any]:
    return st.none() | st.builds(
        lambda found: {"Version": "2012-10-17", "Statement": found}, st.lists(statements(bucket), min_size=1, max_size=3)
    )


def read(document: Any, bucket: str = "") -> Policy | None:  # noqa: ANN401 - JSON
    if document is None:
        return None
    found = read_policy(json.dumps(document), bucket)
    assert isinstance(found, Policy), found
    return found


@given(
    documents(False),
    documents(True),
    st.fixed_dictionaries(
        {},
        optional={
            "aws:sourceVpc": st.sampled_from(VALUES),
            "aws:VpcSourceIp": st.sampled_from(ADDRESSES),
            "aws:SecureTransport": st.sampled_from(("true", "false")),
            "s3:prefix": st.sampled_from(("", "vpc-a", "vpc-ab")),
        },
    ),
)
def test_policies_agree_with_the_second_reading(endpoint: Any, bucket: Any, facts: dict[str, str]) -> None:  # noqa: ANN401
    context: Context = {ConditionKey(key): value for key, value in facts.items()}
    lower = {key.lower(): value for key, value in facts.items()}
    outer, own = read(endpoint), read(bucket, "b")
    for action in ACTIONS:
        for key in KEYS:
            resource = f"arn:aws:s3:::b/{key}" if key else "arn:aws:s3:::b"
            need = Need(action=action, resource=resource, bucket="b")
            found = decide((need,), outer, {} if own is None else {"b": own}, context)
            assert found.permitted == verdict(endpoint, bucket, action, resource, lower), found.reason
