"""The proxy's own answers, as S3 words them: an XML document with a code that SDKs know."""

from __future__ import annotations

import secrets
from typing import Final
from xml.sax.saxutils import escape

from aiohttp import web

SERVER: Final = "netorch"
_UNPRINTABLE: Final = dict.fromkeys((*range(32), 127), "?")


def error(status: int, code: str, message: str, *, ends: bool) -> web.Response:
    """Return an error; with `ends` the connection ends behind it.

    Source: Amazon S3 API Reference, "Error responses".
    """
    request_id = secrets.token_hex(8).upper()
    text = escape(message.translate(_UNPRINTABLE))
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message>'
        f"<RequestId>{request_id}</RequestId></Error>"
    )
    headers = {"x-amz-request-id": request_id, "Server": SERVER}
    answer = web.Response(status=status, text=body, content_type="application/xml", headers=headers)
    if ends:
        answer.force_close()
    return answer
