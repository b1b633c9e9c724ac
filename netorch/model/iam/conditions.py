"""Conditions of statements: condition keys, operators, and their evaluation.

Source: IAM's user guide, "IAM JSON policy elements: Condition operators", and S3's and EC2's pages about keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec

from netorch.model.addr import Prefix, parse_ip
from netorch.model.iam.glob import Glob


class ConditionKey(Enum):
    """The condition keys. They are not case-sensitive in policies."""

    SOURCE_VPC = "aws:sourceVpc"  # vpc-... of the instance that sends the request
    SOURCE_VPCE = "aws:sourceVpce"  # vpce-... through which the request comes
    VPC_SOURCE_IP = "aws:VpcSourceIp"  # the instance's address in its VPC
    SOURCE_IP = "aws:SourceIp"  # a public address; absent in requests through an endpoint
    SECURE_TRANSPORT = "aws:SecureTransport"  # true or false: whether the request uses TLS
    PREFIX = "s3:prefix"  # these three: parameters of requests that list a bucket
    DELIMITER = "s3:delimiter"
    MAX_KEYS = "s3:max-keys"


Context = Mapping[ConditionKey, str]  # the known values of a request; a missing key has no value


class Kind(Enum):
    """How an operator compares."""

    EQUALS = "text"
    EQUALS_IGNORE_CASE = "text of any case"
    LIKE = "text with * and ?"
    ADDRESS = "addresses or prefixes"
    NUMBER = "numbers"
    BOOL = "true or false"
    NULL = "whether there is a value"


class Operator(msgspec.Struct, frozen=True):
    """An operator. A negated operator holds if the plain one does not, so also if the request does not have the key."""

    name: str
    kind: Kind
    negated: bool = False
    less: bool = False  # for numbers: whether smaller and greater values match
    greater: bool = False
    equal: bool = True


OPERATORS: Final = {
    operator.name: operator
    for operator in (
        Operator("StringEquals", Kind.EQUALS),
        Operator("StringNotEquals", Kind.EQUALS, negated=True),
        Operator("StringEqualsIgnoreCase", Kind.EQUALS_IGNORE_CASE),
        Operator("StringNotEqualsIgnoreCase", Kind.EQUALS_IGNORE_CASE, negated=True),
        Operator("StringLike", Kind.LIKE),
        Operator("StringNotLike", Kind.LIKE, negated=True),
        Operator("IpAddress", Kind.ADDRESS),
        Operator("NotIpAddress", Kind.ADDRESS, negated=True),
        Operator("NumericEquals", Kind.NUMBER),
        Operator("NumericNotEquals", Kind.NUMBER, negated=True),
        Operator("NumericLessThan", Kind.NUMBER, less=True, equal=False),
        Operator("NumericLessThanEquals", Kind.NUMBER, less=True),
        Operator("NumericGreaterThan", Kind.NUMBER, greater=True, equal=False),
        Operator("NumericGreaterThanEquals", Kind.NUMBER, greater=True),
        Operator("Bool", Kind.BOOL),
        Operator("Null", Kind.NULL),
    )
}
IF_EXISTS: Final = "IfExists"  # suffix of an operator's name: also holds if the request does not have the key

Value = str | int | bool | Prefix | Glob  # the type depends on the operator's kind


class Condition(msgspec.Struct, frozen=True):
    """An operator with a key and values. One matching value suffices."""

    operator: Operator
    key: ConditionKey
    values: tuple[Value, ...]
    if_exists: bool = False

    def holds(self, context: Context) -> bool:
        """Return whether a request satisfies the condition."""
        found = context.get(self.key)
        if self.operator.kind is Kind.NULL:
            return (found is None) in self.values
        if found is None:
            return self.if_exists or self.operator.negated
        if self.operator.kind is Kind.ADDRESS:
            address = parse_ip(found)
            return any(isinstance(value, Prefix) and value.holds(*address) for value in self.values) != self.operator.negated
        return any(_agrees(self.operator, value, found) for value in self.values) != self.operator.negated

    @property
    def effort(self) -> int:
        """Return the maximum number of steps of an evaluation."""
        return sum(value.effort if isinstance(value, Glob) else 1 for value in self.values)


def _agrees(operator: Operator, value: Value, found: str) -> bool:
    """Return whether a request's value matches one value of a condition."""
    match value:
        case Glob():
            return value.matches(found)
        case bool():
            return found == ("true" if value else "false")
        case int():
            number = int(found)
            return operator.less if number < value else operator.greater if number > value else operator.equal
        case str():
            return value.casefold() == found.casefold() if operator.kind is Kind.EQUALS_IGNORE_CASE else value == found
    raise AssertionError(value)  # `holds` compares prefixes
