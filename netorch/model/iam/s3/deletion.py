"""The body of a DeleteObjects request: the only one that names what the request is about.

S3 answers for each key whether it may be deleted. Here a request is refused as a whole if one of its keys may not.
"""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

import msgspec

from netorch.model.iam.policy import Need
from netorch.model.iam.s3.refusal import Refusal
from netorch.model.iam.s3.request import Asked, need
from netorch.model.iam.s3.uri import Place, key_problem, text_problem

MOST_BODY_BYTES: Final = 2 << 20  # 1,000 keys of 1,024 bytes each, some characters of which are escaped
MOST_KEYS: Final = 1000
DELETIONS: Final = ("s3:DeleteObject", "s3:DeleteObjectVersion")  # one for each key
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/ "
_LEAVES: Final = ("Quiet", "Key", "VersionId", "ETag", "LastModifiedTime", "Size")
MOST_ELEMENTS: Final = 2 + MOST_KEYS * len(_LEAVES)
_KNOWN: Final = {  # an element, and those around it
    ("Delete", ()),
    ("Object", ("Delete",)),
    ("Quiet", ("Delete",)),
    *((name, ("Delete", "Object")) for name in _LEAVES[1:]),
}


def read_deletion(asked: Asked, body: bytes) -> Asked | Refusal:
    """Return what a DeleteObjects request asks for, with the permission for each key that its body names."""
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
    """The document is not one that every server reads in one way."""


class _Reader:
    """Takes what expat finds: <Delete>, <Object> in it, and elements with text in those. Everything else ends it."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._text = ""
        self._objects: list[dict[str, str]] = []
        self._elements = 0
        self._expat = expat.ParserCreate("utf-8", " ")
        self._expat.buffer_text = True  # else a text of many escapes comes in as many pieces
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
        # Expat has been told UTF-8, but another server may believe what stands here.
        if version != "1.0" or (encoding is not None and encoding.lower() != "utf-8"):
            raise _WrongError

    def _refused(self, *_said: Any) -> None:  # noqa: ANN401 - expat's own arguments, which nobody reads
        raise _WrongError
