"""A request's head. The proxy and the server must read it in the same way. Also builds the head for the server.

aiohttp's parser has refused anything that violates HTTP/1.1. This module refuses valid heads that are ambiguous.

- Method, target and Host are forwarded byte for byte: they are part of the client's signature.
- Hop-by-hop headers (RFC 9110, section 7.6.1) and those named in `Connection` are removed.
- Headers that servers trust for the client's identity or the target (X-Forwarded-Host) are removed, and all of netorch's. Some
  servers take `_` for `-` in names, so headers with `_` in the name are removed, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

Header = tuple[str, str]

OURS: Final = "x-netorch-"
CONNECTION: Final = frozenset(  # hop-by-hop headers
    ("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade")
)
_BELIEVED: Final = frozenset(
    ("forwarded", "via", "x-real-ip", "x-client-ip", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method")
)
_BELIEVED_PREFIXES: Final = (OURS, "x-forwarded-")
_NEEDED: Final = frozenset(("host", "content-length", "transfer-encoding", "authorization"))  # Connection may not name these
_METHODS: Final = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"))
_WITH_BODY: Final = frozenset(("PUT", "POST"))
# RFC 3986, strictly: each % has two hex digits, so that all decoders agree.
_TARGET: Final = re.compile(
    r"(/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)(?:\?((?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*))?\Z"
)
_DOTS: Final = re.compile(r"(?:\.|%2e){1,2}\Z", re.IGNORECASE)
_SLASH: Final = re.compile(r"/|%2f|%5c", re.IGNORECASE)
_NUL: Final = "%00"
_LENGTH: Final = re.compile(r"[0-9]{1,15}\Z")
_HOST: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?\Z")


class Refusal(Exception):
    """A refused request. `code` is S3's. `reason` is for the access log, if it differs from the message."""

    def __init__(self, status: int, code: str, message: str, reason: str = "") -> None:
        self.status, self.code, self.message, self.reason = status, code, message, reason
        super().__init__(message)


class Head(NamedTuple):
    """The head of a request."""

    method: str
    target: str  # byte for byte
    host: str  # lower case, without port
    port: int | None  # of Host
    headers: tuple[Header, ...]  # for the server, with Host
    length: int | None  # Content-Length; None: there is none, or the body is chunked
    chunked: bool
    waits: bool  # the client waits for 100 Continue

    @property
    def has_body(self) -> bool:
        """Return whether the head announces a non-empty body."""
        return self.chunked or bool(self.length)

    def raw(self, added: Sequence[Header], length: int | None) -> bytes:
        """Return the head's bytes for the server, with added headers. `length` is that of a complete body."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        whole = length is not None and self.chunked
        lines += [f"{name}: {value}" for name, value in (*self.headers, *added)]
        if self.chunked and not whole:
            lines.append("Transfer-Encoding: chunked")
        elif whole or (self.length is None and self.method in _WITH_BODY):
            lines.append(f"Content-Length: {length or 0}")
        return "\r\n".join((*lines, "", "")).encode()

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of a header. The name is in lower case."""
        return tuple(value for each, value in self.headers if each.lower() == name)


def read_head(method: str, target: str, raw: Sequence[tuple[bytes, bytes]]) -> Head:
    """Return the head of a request.

    Raises:
      Refusal: it is no S3 request, or a server could read it in another way.
    """
    if method not in _METHODS:
        raise Refusal(405, "MethodNotAllowed", f"The method {method} is not allowed against this resource.")
    _check_target(target)
    headers = tuple(_decoded(raw))
    names = [name.lower() for name, _ in headers]
    for single in ("host", "content-length", "transfer-encoding", "authorization", "expect", "upgrade", "x-amz-copy-source"):
        if names.count(single) > 1:
            raise _bad(f"there are {names.count(single)} headers {single} instead of one")
    found = dict(zip(names, (value for _, value in headers), strict=True))
    if "upgrade" in found:
        raise _bad("other protocols (Upgrade) are not supported")
    host, port = _read_host(found.get("host", ""))
    length, chunked = _read_length(method, found)
    if found.get("expect", "100-continue").lower() != "100-continue":
        raise Refusal(417, "ExpectationFailed", f"Only 100-continue can be expected, not {found['expect']}.")
    return Head(
        method,
        target,
        host,
        port,
        tuple(_for_server(headers, found.get("connection", ""))),
        length,
        chunked,
        "expect" in found,
    )


def _check_target(target: str) -> None:
    found = _TARGET.match(target)
    if found is None:
        raise Refusal(
            400, "InvalidURI", "Couldn't parse the specified URI: it must begin with / and have no unencoded characters."
        )
    path = found[1]
    if _NUL in path:
        raise Refusal(400, "InvalidURI", "Couldn't parse the specified URI: it has a NUL.")
    if any(_DOTS.match(part) for part in _SLASH.split(path)):
        raise Refusal(400, "InvalidURI", "Couldn't parse the specified URI: servers read a part . or .. in several ways.")


def _decoded(raw: Iterable[tuple[bytes, bytes]]) -> Iterable[Header]:
    for name, value in raw:
        try:
            yield name.decode("ascii"), value.decode("utf-8")
        except UnicodeDecodeError:
            raise _bad("a header is not in UTF-8") from None


def _read_host(text: str) -> tuple[str, int | None]:
    found = _HOST.match(text)
    if found is None or (found[2] and not 0 < int(found[2]) < 65536):
        raise _bad("the header Host is not a name with an optional port")
    return found[1].lower(), int(found[2]) if found[2] else None


def _read_length(method: str, found: dict[str, str]) -> tuple[int | None, bool]:
    """Return the body's length, and whether it is chunked. The parser has already refused a request with both."""
    coding = found.get("transfer-encoding")
    if coding is not None and coding.lower() != "chunked":
        raise Refusal(501, "NotImplemented", "A transfer encoding other than chunked is not implemented.")
    text = found.get("content-length")
    if text is not None and _LENGTH.match(text) is None:
        raise _bad("the header Content-Length is not a number")
    length = int(text) if text is not None else None
    if method not in _WITH_BODY and (coding is not None or length):
        raise _bad(f"a request of the method {method} has no body")
    return length, coding is not None


def _for_server(headers: Iterable[Header], connection: str) -> Iterable[Header]:
    named = {name.strip().lower() for name in connection.split(",")} - _NEEDED
    for name, value in headers:
        small = name.lower()
        if small in CONNECTION or small in named or small in ("expect", "transfer-encoding"):
            continue
        if "_" in small or small in _BELIEVED or small.startswith(_BELIEVED_PREFIXES):
            continue
        yield name, value


def _bad(what: str) -> Refusal:
    return Refusal(400, "InvalidRequest", f"The request is refused: {what}.")
