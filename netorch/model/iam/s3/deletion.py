"""The body of a DeleteObjects request, the only body that names resources.

S3 permits or denies each key separately. netorch refuses the whole request if one of its keys is not permitted.
"""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

import msgspec

from netorch.model.iam.policy import Need
from netorch.model.iam.s3.refusal import Refusal
from netorch.model.iam.s3.request import Asked, need
from netorch.model.iam.s3.uri import Place, key_problem, text_problem

MOST_BODY_BYTES: Final = 2 << 20  # 1,000 keys of 1,024 bytes each, partly escaped
MOST_KEYS: Final = 1000
DELETIONS: Final = ("s3:DeleteObject", "s3:DeleteObjectVersion")  # one of these per key
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/ "
_LEAVES: Final = ("Quiet", "Key", "VersionId", "ETag", "LastModifiedTime", "Size")
MOST_ELEMENTS: Final = 2 + MOST_KEYS * len(_LEAVES)
_KNOWN: Final = {  # (element, its ancestors)
    ("Delete", ()),
    ("Object", ("Delete",)),
    ("Quiet", ("Delete",)),
    *((name, ("Delete", "Object")) for name in _LEAVES[1:]),
}


def read_deletion(asked: Asked, body: bytes) -> Asked | Refusal:
    """Return the needs of a DeleteObjects request, with the permission for each key in its body."""
    if len(body) > MOST_BODY_BYTES:
        return Refusal("MalformedXML", f"the body has more than {MOST_BODY_BYTES} bytes")
    reader = _Reader()
    objects = reader.read(body)
    if isinstance(objects, Refusal):
        return objects
    needs: list[Need] = []
    for fields in objects:
        key = fields.get("Key", "")
        if not key or key != key.strip():
            return Refusal("MalformedXML", "an Object has no Key, or one that begins or ends with a space")
        if problem := text_problem(key) or key_problem(key):
            return problem
        place = Place(asked.place.bucket, key)
        needs.append(need(place, "DeleteObjectVersion" if fields.get("VersionId") else "DeleteObject"))
        needs += [msgspec.structs.replace(one, resource=place.arn) for one in asked.needs]
    return Asked(place=asked.place, needs=tuple(needs))


class _WrongError(Exception):
    """Servers may interpret the document differently."""


class _Reader:
    """Handles expat's events: <Delete>, <Object> inside, and text elements inside these. Anything else is an error."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._text = ""
        self._objects: list[dict[str, str]] = []
        self._elements = 0
        self._expat = expat.ParserCreate("utf-8", " ")
        self._expat.buffer_text = True  # otherwise expat splits a text at each escape
        self._expat.XmlDeclHandler = self._declaration
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters
        self._expat.StartDoctypeDeclHandler = self._refused
        self._expat.ProcessingInstructionHandler = self._refused
        self._expat.CommentHandler = self._refused

    def read(self, body: bytes) -> list[dict[str, str]] | Refusal:
        try:
            self._expat.Parse(body.decode("utf-8"), True)
        except (UnicodeDecodeError, expat.ExpatError, _WrongError):
            return Refusal("MalformedXML", "the body is not a Delete element with Object elements, each with one Key")
        if not 1 <= len(self._objects) <= MOST_KEYS:
            return Refusal("MalformedXML", f"the body names no key, or more than {MOST_KEYS}")
        return self._objects

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name, path = tag.removeprefix(_NAMESPACE), tuple(self._open)
        if attributes or (name, path) not in _KNOWN or (len(path) == 2 and name in self._objects[-1]):
            raise _WrongError
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise _WrongError
        if name == "Object":
            self._objects.append({})
        self._open.append(name)
        self._text = ""

    def _end(self, _tag: str) -> None:
        name = self._open.pop()
        if len(self._open) == 2:
            self._objects[-1][name] = self._text
        self._text = ""

    def _characters(self, text: str) -> None:
        if self._open[-1] not in _LEAVES and text.strip():
            raise _WrongError
        self._text += text

    def _declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        # This parser always decodes UTF-8, but a server may follow the declaration.
        if version != "1.0" or (encoding is not None and encoding.lower() != "utf-8"):
            raise _WrongError

    def _refused(self, *_said: Any) -> None:  # noqa: ANN401 - expat's own arguments, unused
        raise _WrongError
