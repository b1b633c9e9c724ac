"""A safe parser of small XML documents from outside, to a tree of elements.

It refuses document types and so all entities; nothing expands, and nothing is fetched. It skips comments and processing
instructions, and keeps attributes. It decodes UTF-8 and ignores the declared encoding.
"""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

from netorch.errors import Problem, SpecError, printable

MAX_BYTES: Final = 64 << 10  # AWS's files have 5 KB
MAX_DEPTH: Final = 16
MAX_ELEMENTS: Final = 2000

_REPAIR: Final = (
    "use the file exactly as AWS provides it: aws ec2 describe-vpn-connections, the field CustomerGatewayConfiguration"
)


class Element:
    """An element with its path and line."""

    def __init__(self, name: str, path: str, line: int, attributes: dict[str, str]) -> None:
        self.name = name
        self.path = path  # /vpn_connection/ipsec_tunnel[2]/ike
        self.line = line
        self.attributes = attributes
        self.text = ""
        self.children: list[Element] = []

    def named(self, name: str) -> list[Element]:
        """Return the child elements of that name."""
        return [child for child in self.children if child.name == name]


def read_xml(source: str, data: bytes) -> Element:
    """Return the root of a document. `source` is the document's name. Raises SpecError."""
    if len(data) > MAX_BYTES:
        raise problem(source, "/", f"the file is larger than {MAX_BYTES >> 10} KiB", _REPAIR)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise problem(source, "/", f"byte {error.start} is not UTF-8", "store the file as UTF-8") from error
    reader = _Reader(source)
    reader.parse(text)
    assert reader.root is not None  # a document without an element is a syntax error
    return reader.root


def problem(source: str, path: str, what: str, fix: str, line: int = 0) -> SpecError:
    """Return a SpecError with one problem."""
    return SpecError(source, [Problem(path=path, what=what, fix=fix, line=line)])


class _Reader:
    """Builds the tree from expat's events."""

    def __init__(self, source: str) -> None:
        self.root: Element | None = None
        self._source = source
        self._open: list[Element] = []
        self._count = 0
        self._expat = expat.ParserCreate("utf-8")
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters
        self._expat.StartDoctypeDeclHandler = self._doctype

    def parse(self, text: str) -> None:
        try:
            self._expat.Parse(text, True)
        except expat.ExpatError as error:
            what = f"this is not XML: {expat.ErrorString(error.code)}, in column {error.offset + 1}"
            raise problem(self._source, self._path(), what, _REPAIR, error.lineno) from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            what = f"there are more than {MAX_ELEMENTS} elements, or they are nested deeper than {MAX_DEPTH}"
            raise problem(self._source, self._path(), what, _REPAIR, self._expat.CurrentLineNumber)
        parent = self._open[-1] if self._open else None
        before = len(parent.named(name)) if parent is not None else 0
        path = f"{self._path().rstrip('/')}/{printable(name)}{f'[{before + 1}]' if before else ''}"
        element = Element(name, path, self._expat.CurrentLineNumber, attributes)
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        element.text = element.text.strip()

    def _characters(self, text: str) -> None:
        self._open[-1].text += text

    def _doctype(self, *_said: Any) -> None:  # noqa: ANN401 - expat's own arguments, unused
        what = "the file has a document type, which may define entities"
        raise problem(self._source, self._path(), what, _REPAIR, self._expat.CurrentLineNumber)

    def _path(self) -> str:
        return self._open[-1].path if self._open else "/"
