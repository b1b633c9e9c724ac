"""The permissions that a request to S3 needs.

A caller does the following. All of it is pure. The caller then forwards the request to the server unchanged.

    request = S3Request(method="GET", target="/bucket/key?versionId=7", headers=[("Host", "s3.internal"), ...])
    asked = read_request(service, request)           # Refusal: answer with its code, status and sentence
    if asked.names_keys:                             # the body of a DeleteObjects, at most MOST_BODY_BYTES
        asked = read_deletion(asked, body)           # netorch.model.iam.s3.deletion
    decide(asked.needs, endpoint_policy, bucket_policies, context)   # netorch.model.iam.policy

Unknown operations are refused, because no statement may cover them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from netorch.model.iam.conditions import ConditionKey, Context
from netorch.model.iam.policy import Need
from netorch.model.iam.s3.headers import BYPASS, COPY_SOURCE, GIVING, read_headers
from netorch.model.iam.s3.operations import COMMON, VALUED, Level, Operation, operation_of
from netorch.model.iam.s3.refusal import Refusal
from netorch.model.iam.s3.uri import MOST_KEY_BYTES, Place, Service, decoded, parameters, place_of, source_of

_NUMBER: Final = re.compile(r"[0-9]{1,10}\Z")
_LISTED: Final = {"prefix": ConditionKey.PREFIX, "delimiter": ConditionKey.DELIMITER, "max-keys": ConditionKey.MAX_KEYS}


class S3Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as received."""

    method: str
    target: str  # from the request line, neither decoded nor normalised
    headers: Sequence[tuple[str, str]]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The resource and the permissions that a request needs."""

    place: Place
    needs: tuple[Need, ...]
    names_keys: bool = False  # the body names keys; `needs` apply to each of them


def read_request(service: Service, request: S3Request) -> Asked | Refusal:
    """Return the needs of a request, or why it is refused."""
    headers = read_headers(request.headers)
    if isinstance(headers, Refusal):
        return headers
    path, _, query = request.target.partition("?")
    place = place_of(service, headers.get("host", ""), path)
    if isinstance(place, Refusal):
        return place
    given = parameters(query)
    if isinstance(given, Refusal):
        return given
    level = Level.OBJECT if place.key else Level.BUCKET if place.bucket else Level.SERVICE
    operation = operation_of(level, request.method, frozenset(given))
    if operation is None:
        names = ", ".join(sorted(given.keys() - COMMON)) or "no parameter"
        return Refusal(
            "NotImplemented", f"no operation of a {level.value} has the method {request.method[:20]} and {names[:200]}"
        )
    return _asked(operation, place, given, headers)


def _asked(operation: Operation, place: Place, given: Mapping[str, str], headers: Mapping[str, str]) -> Asked | Refusal:
    if problem := _parameter_problem(operation, given):
        return problem
    context = _context(operation, given)
    if isinstance(context, Refusal):
        return context
    if operation.names_keys:
        bypassing = (need(place, "BypassGovernanceRetention"),) if BYPASS in headers else ()
        return Asked(place=place, needs=bypassing, names_keys=True)
    actions = operation.version_actions if "versionId" in given else operation.actions
    needs = [need(place, action, context) for action in (*actions, *_given(operation, headers))]
    if COPY_SOURCE in headers:
        if not operation.copies:
            return Refusal("InvalidArgument", f"{COPY_SOURCE} is set in a request that copies nothing")
        source = source_of(headers[COPY_SOURCE])
        if isinstance(source, Refusal):
            return source
        needs.append(need(source[0], "GetObjectVersion" if source[1] else "GetObject"))
    return Asked(place=place, needs=tuple(needs))


def need(place: Place, action: str, context: Context = {}) -> Need:  # noqa: B006 - never modified
    """Return the permission for an action (without `s3:`) on a resource."""
    return Need(action=f"s3:{action}", resource=place.arn, bucket=place.bucket, context=context)


def _given(operation: Operation, headers: Mapping[str, str]) -> list[str]:
    """Return the actions that the headers of a request need."""
    index = 0 if operation.level is Level.OBJECT else 1
    found = [actions[index] for name, actions in GIVING.items() if operation.creates and name in headers]
    bypasses = BYPASS in headers and operation.level is Level.OBJECT and operation.method in ("PUT", "DELETE")
    return [*dict.fromkeys(action for action in found if action), *(["BypassGovernanceRetention"] if bypasses else [])]


def _context(operation: Operation, given: Mapping[str, str]) -> Context | Refusal:
    """Return the values of condition keys from the parameters of a listing."""
    found: dict[ConditionKey, str] = {}
    for name, key in _LISTED.items():
        if operation.lists and name in given:
            value = decoded(given[name])
            if isinstance(value, Refusal):
                return value
            if key is ConditionKey.MAX_KEYS and not _NUMBER.match(value):
                return Refusal("InvalidArgument", "max-keys is not a number")
            if len(value.encode()) > MOST_KEY_BYTES:
                return Refusal("InvalidArgument", f"{name} has more than {MOST_KEY_BYTES} bytes, the longest that a key can be")
            found[key] = value
    return found


def _parameter_problem(operation: Operation, given: Mapping[str, str]) -> Refusal | None:
    """Return the error in the values of parameters, or None: some parameters must be empty, others must have a value."""
    if given.get("list-type", "2") != "2":
        return Refusal("InvalidArgument", "list-type must be 2, or absent")
    for name in operation.parameters - {"list-type"}:
        if (name in VALUED) != bool(given[name]):
            return Refusal("InvalidArgument", f"the parameter {name} has {'no' if name in VALUED else 'a'} value")
    if any(not given[name] for name in VALUED & given.keys()):
        return Refusal("InvalidArgument", "a parameter has no value")
    return None
