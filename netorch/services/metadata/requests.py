"""HTTP requests as bytes, as far as the metadata service needs them: GET, HEAD and PUT without a body. Pure.

An ambiguous request is refused. Source: RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

HEAD_MOST: Final = 8192  # bytes of a request
_LINE: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1023}) HTTP/1\.([01])\Z")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):([\t -~]*)\Z")  # matches in one way only: no backtracking
END: Final = b"\r\n\r\n"


class BadRequest(ValueError):
    """The request is invalid or ambiguous."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    persistent: bool  # whether the client may send more requests on this connection


def parse(head: bytes) -> Request:
    """Return the request in a head without its final empty line. Raises BadRequest."""
    first, *lines = head.split(b"\r\n")
    matched = _LINE.match(first)
    if matched is None:
        raise BadRequest
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.match(line)
        if found is None:
            raise BadRequest
        name = found[1].decode().lower()
        if name in headers:
            raise BadRequest
        headers[name] = found[2].strip(b" \t").decode()
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadRequest
    wish = headers.get("connection", "").lower()
    persistent = wish != "close" if matched[3] == b"1" else wish == "keep-alive"
    return Request(method=matched[1].decode(), path=matched[2].decode().partition("?")[0], headers=headers, persistent=persistent)
