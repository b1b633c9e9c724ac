"""Tokens: a client with a token has got it directly, not through a proxy. Pure.

A token is its expiry time and a MAC over this time and the instance's id, with a key of this process. So the server
stores no tokens, however many clients request. A new process has another key: a client that gets 401 requests a new
token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final

TTL_LEAST, TTL_MOST = 1, 21600  # seconds, as in EC2
_END: Final = struct.Struct(">Q")
_MAC_BYTES: Final = hashlib.sha256().digest_size


def make(key: bytes, instance: str, now: float, ttl: int) -> str:
    """Return a token for an instance that is valid for `ttl` seconds."""
    end = _END.pack(int(now) + ttl)
    return base64.urlsafe_b64encode(end + _code(key, instance, end)).decode()


def is_good(key: bytes, instance: str, now: float, token: str) -> bool:
    """Return whether a token belongs to this instance and has not expired."""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(raw) != _END.size + _MAC_BYTES or not hmac.compare_digest(raw[_END.size :], _code(key, instance, raw[: _END.size])):
        return False
    (end,) = _END.unpack_from(raw)
    return bool(now < end)


def _code(key: bytes, instance: str, end: bytes) -> bytes:
    return hmac.digest(key, end + instance.encode(), "sha256")
