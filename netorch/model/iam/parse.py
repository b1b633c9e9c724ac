"""The strict parser of policies: JSON to `Policy`. It refuses what netorch cannot enforce, when the policy is written.

Source: IAM's user guide, "IAM JSON policy elements reference", and "Grammar of the IAM JSON policy language". It refuses these
elements of the language: principals other than everybody, because netorch knows no identities; variables such as
${aws:username}; ForAllValues and ForAnyValue, because no supported key has several values; services other than S3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final

from netorch.errors import Problem
from netorch.model.check.notes import Where, path_of
from netorch.model.endpoints.endpoint_rules import policy_size
from netorch.model.iam.actions import ACTIONS
from netorch.model.iam.conditions import IF_EXISTS, OPERATORS, Condition, ConditionKey, Kind, Value
from netorch.model.iam.glob import Glob, glob
from netorch.model.iam.policy import Effect, Policy, Statement
from netorch.model.iam.s3.uri import ARN
from netorch.model.iam.values import read_value, variables_problem
from netorch.model.rules import Violation, shown

VERSIONS: Final = ("2012-10-17", "2008-10-17")
_EXAMPLE: Final = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}'
)
_STATEMENT: Final = (
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
)
_KEYS: Final = {key.value.lower(): key for key in ConditionKey}
_FIT: Final = {  # operators of these kinds take these keys only; other operators take any key
    Kind.ADDRESS: (ConditionKey.VPC_SOURCE_IP, ConditionKey.SOURCE_IP),
    Kind.NUMBER: (ConditionKey.MAX_KEYS,),
    Kind.BOOL: (ConditionKey.SECURE_TRANSPORT,),
}


def read_policy(text: str, bucket: str = "") -> Policy | tuple[Problem, ...]:
    """Return the policy of a text, or all problems of the text.

    With `bucket`, the text is that bucket's policy, and its resources must be in the bucket. Without, it is an endpoint's policy.
    A problem's `path` is the position in the document: `$.Statement[0].Action`.
    """
    reader = _Reader(bucket)
    policy = reader.read(text)
    return policy if policy is not None and not reader.problems else tuple(reader.problems)


class _Repeated(ValueError):
    """An object has a duplicate key. Decoders use the last value, human readers see the first."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _Repeated(key)
        found[key] = value
    return found


class _Reader:
    """Reads a document and collects its problems."""

    def __init__(self, bucket: str) -> None:
        self.problems: list[Problem] = []
        self._bucket = bucket
        self._variables = False  # Version 2012-10-17 has ${...}

    def read(self, text: str) -> Policy | None:
        document = self._document(text)
        if document is None:
            return None
        self._only(document, ("Version", "Id", "Statement"), ())
        version = document.get("Version", VERSIONS[1])
        if version not in VERSIONS:
            self._add(f"{shown(version)} is not a version", f'write "{VERSIONS[0]}"', "Version")
        self._variables = version == VERSIONS[0]
        if not isinstance(identity := document.get("Id", ""), str):
            self._add(f"{shown(identity)} is not a text", "write a text, or leave Id out", "Id")
        return Policy(tuple(self._statements(document.get("Statement"))))

    def _document(self, text: str) -> dict[str, object] | None:
        if violation := policy_size(text):
            self._add(violation.what, violation.fix)
            return None
        try:
            found = json.loads(text, object_pairs_hook=_object)
        except _Repeated as error:
            self._add(f"the key {shown(str(error))} occurs twice in one object", "keep one of them")
            return None
        except json.JSONDecodeError as error:
            what = f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}, in line {error.lineno}, column {error.colno}"
            self._add(what, "correct the text there, or just before")
            return None
        except (RecursionError, ValueError):
            self._add("the nesting is too deep, or a number too long", "a policy needs 5 levels")
            return None
        if isinstance(found, dict):
            return found
        self._add(f"a policy is an object, not {shown(found)}", f"begin with {_EXAMPLE}")
        return None

    def _statements(self, found: object) -> Iterator[Statement]:
        several = isinstance(found, list)
        statements = found if isinstance(found, list) else [found]
        if found is None or not statements:
            self._add("there is no statement", f"write e.g. {_EXAMPLE}", "Statement")
            return
        seen: set[str] = set()
        for index, one in enumerate(statements):
            where: Where = ("Statement", index) if several else ("Statement",)
            if not isinstance(one, dict):
                self._add(f"a statement is an object, not {shown(one)}", "write {...}", *where)
                continue
            statement = self._statement(one, index + 1, where)
            if statement.sid and statement.sid in seen:
                self._add(f"{shown(statement.sid)} is the Sid of two statements", "choose another one", *where, "Sid")
            seen.add(statement.sid)
            yield statement

    def _statement(self, found: dict[str, object], number: int, where: Where) -> Statement:
        self._only(found, _STATEMENT, where)
        sid, effect = found.get("Sid", ""), found.get("Effect")
        if not isinstance(sid, str) or not all(char.isascii() and (char.isalnum() or char in "-_ ") for char in sid):
            self._add(f"{shown(sid)} is not a Sid", "use letters, digits, spaces, '-' and '_'", *where, "Sid")
        if effect not in ("Allow", "Deny"):
            what = "the effect is missing" if effect is None else f"{shown(effect)} is not an effect"
            self._add(what, 'write "Allow" or "Deny"', *where, "Effect")
        self._principal(found, where)
        actions = self._globs(found, "Action", where)
        resources = self._globs(found, "Resource", where)
        return Statement(
            number=number,
            sid=str(sid),
            effect=Effect.ALLOW if effect == "Allow" else Effect.DENY,
            actions=actions,
            but_actions="NotAction" in found,
            resources=resources,
            but_resources="NotResource" in found,
            conditions=tuple(self._conditions(found.get("Condition", {}), (*where, "Condition"))),
        )

    def _principal(self, found: dict[str, object], where: Where) -> None:
        fix = 'write "Principal": "*", and restrict the sources in Condition'
        if "NotPrincipal" in found:
            self._add("NotPrincipal excludes identities, and netorch has none", fix, *where, "NotPrincipal")
        elif (principal := found.get("Principal")) is None:
            self._add("the principal is missing", fix, *where, "Principal")
        elif principal not in ("*", {"AWS": "*"}, {"AWS": ["*"]}):
            what = f"{shown(principal)} names identities, and netorch has none"
            self._add(what, fix, *where, "Principal")

    def _globs(self, found: dict[str, object], name: str, where: Where) -> tuple[Glob, ...]:
        """Return the patterns of Action or NotAction, or of Resource or NotResource."""
        negated = f"Not{name}"
        if (name in found) == (negated in found):
            what = f"there are both {name} and {negated}" if name in found else f"there is no {name}"
            self._add(what, f"write one of {name} and {negated}", *where)
            return ()
        used = name if name in found else negated
        globs = []
        for at, text in self._listed(found[used], (*where, used)):
            if not isinstance(text, str):
                self._add(f"{shown(text)} is not a text", 'write e.g. "*"', *at)
                continue
            violation = self._action(text) if name == "Action" else self._resource(text)
            if violation is not None:
                self._add(violation.what, violation.fix, *at)
                continue
            globs.append(glob(text, variables=self._variables, ignore_case=name == "Action"))
        return tuple(globs)

    def _action(self, text: str) -> Violation | None:
        if text == "*":
            return None
        service, colon, name = text.partition(":")
        if not colon or service.lower() != "s3":
            return Violation(f"{shown(text)} is not an action of S3", "write e.g. s3:GetObject, s3:* or *")
        pattern = glob(text, variables=False, ignore_case=True)
        if any(pattern.matches(action) for action in ACTIONS):
            return None
        near = get_close_matches(f"s3:{name}", sorted(ACTIONS), 1)
        fix = f"did you mean {near[0]}?" if near else "write e.g. s3:GetObject or s3:*"
        return Violation(f"S3 has no action {shown(text)}", fix)

    def _resource(self, text: str) -> Violation | None:
        if self._variables and (violation := variables_problem(text)):
            return violation
        if self._bucket:
            mine = f"{ARN}{self._bucket}"
            if text == mine or text.startswith(f"{mine}/"):
                return None
            return Violation(f"{shown(text)} is not in bucket {self._bucket}", f"write {mine} or {mine}/*")
        if text == "*" or (text.startswith(ARN) and len(text) > len(ARN)):
            return None
        return Violation(f"{shown(text)} is not a resource of S3", f"write {ARN}BUCKET, {ARN}BUCKET/* or *")

    def _conditions(self, found: object, where: Where) -> Iterator[Condition]:
        if not isinstance(found, dict):
            self._add(
                f"{shown(found)} is not a block of conditions", 'write {"StringEquals": {"aws:sourceVpc": "vpc-..."}}', *where
            )
            return
        for name, keys in found.items():
            operator = OPERATORS.get(name.removesuffix(IF_EXISTS))
            if operator is None or (operator.kind is Kind.NULL and name != operator.name):
                near = get_close_matches(name.removesuffix(IF_EXISTS), OPERATORS, 1)
                fix = (
                    f"did you mean {near[0]}?"
                    if near
                    else f"choose among {', '.join(OPERATORS)}; all but Null may end in {IF_EXISTS}"
                )
                self._add(f"{shown(name)} is not an operator that netorch supports", fix, *where, name)
            elif not isinstance(keys, dict) or not keys:
                self._add(f"{shown(keys)} has no condition key", f'write e.g. {{"{name}": {{KEY: VALUE}}}}', *where, name)
            else:
                for key, values in keys.items():
                    if (known := self._key(key, operator.kind, (*where, name, key))) is not None:
                        read = self._values(operator.kind, values, (*where, name, key))
                        yield Condition(operator, known, tuple(read), name != operator.name)

    def _key(self, text: str, kind: Kind, where: Where) -> ConditionKey | None:
        key = _KEYS.get(text.lower())
        if key is None:
            near = get_close_matches(text.lower(), _KEYS, 1)
            names = ", ".join(one.value for one in ConditionKey)
            self._add(
                f"{shown(text)} is not a condition key that netorch supports",
                f"did you mean {_KEYS[near[0]].value}?" if near else f"choose among {names}",
                *where,
            )
        elif key not in _FIT.get(kind, (key,)):
            fit = ", ".join(one.value for one in _FIT[kind])
            self._add(f"{key.value} has no {kind.value}", f"use another operator; this one is for {fit}", *where)
            return None
        return key

    def _values(self, kind: Kind, found: object, where: Where) -> Iterator[Value]:
        for at, value in self._listed(found, where):
            read = read_value(kind, value, variables=self._variables)
            if isinstance(read, Violation):
                self._add(read.what, read.fix, *at)
            else:
                yield read

    def _listed(self, found: object, where: Where) -> Iterator[tuple[Where, object]]:
        """Yield (path, value) for a single value or each value of a list."""
        if not isinstance(found, list):
            yield where, found
        elif not found:
            self._add("the list is empty", "write at least one value", *where)
        else:
            yield from (((*where, index), one) for index, one in enumerate(found))

    def _only(self, found: dict[str, object], known: Iterable[str], where: Where) -> None:
        for key in found.keys() - set(known):
            near = get_close_matches(key, known, 1, 0.4)
            self._add(f"there is no element {shown(key)}", f"did you mean {near[0]}?" if near else "remove it", *where, key)

    def _add(self, what: str, fix: str, *where: str | int) -> None:
        self.problems.append(Problem(path=path_of(where), what=what, fix=fix))
