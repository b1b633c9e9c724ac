"""Tokens: who has one has been answered directly, and is not a proxy's client. Pure.

A token is its end and a code over that and the instance's id, by a key that is this process's. So no token is kept, however many
are asked for. A new process has another key: who is told 401 asks for another token.
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
    """Return a token for an instance that is good for `ttl` seconds."""
    end = _END.pack(int(now) + ttl)
    return base64.urlsafe_b64encode(end + _code(key, instance, end)).decode()


def is_good(key: bytes, instance: str, now: float, token: str) -> bool:
    """Return whether a token is this instance's, and its time is not over."""
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
