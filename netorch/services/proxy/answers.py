"""Heads of answers, and the proxy's own answers in S3's format: an XML document with a code that SDKs know."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import escape

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_SERVER: Final = b"netorch"
_UNPRINTABLE: Final = dict.fromkeys((*range(32), 127), "?")


def head(status: int, reason: str, headers: Iterable[tuple[bytes, bytes]], *, ends: bool) -> bytes:
    """Return the head of an answer, with Server and Date (RFC 9110, section 6.6.1); `ends` adds `Connection: close`."""
    kept = list(headers)
    names = {name.lower() for name, _ in kept}
    if b"server" not in names:
        kept.append((b"Server", _SERVER))
    if b"date" not in names:
        kept.append((b"Date", formatdate(usegmt=True).encode()))
    if ends:
        kept.append((b"Connection", b"close"))
    lines = b"".join(b"%b: %b\r\n" % header for header in kept)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason.encode(errors="surrogateescape"), lines)


def error(status: int, code: str, message: str, *, ends: bool, has_body: bool = True) -> bytes:
    """Return an error answer, without a body if `has_body` is false (HEAD).

    Source: Amazon S3 API Reference, "Error responses".
    """
    request_id = secrets.token_hex(8).upper()
    text = escape(message.translate(_UNPRINTABLE))
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message>'
        f"<RequestId>{request_id}</RequestId></Error>"
    ).encode(errors="replace")
    headers = (
        (b"x-amz-request-id", request_id.encode()),
        (b"Content-Type", b"application/xml"),
        (b"Content-Length", b"%d" % len(body)),
    )
    return head(status, HTTPStatus(status).phrase, headers, ends=ends) + (body if has_body else b"")
