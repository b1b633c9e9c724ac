"""One-time tokens: what a new host shows to the enrolment service, once.

The text of a token has the service's address, the fingerprint of the authority's certificate, and 256 random bits. The host thus
knows the right service before it shows the secret. The store keeps a hash of the secret only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

import msgspec

from netorch.errors import IdentityError

TOKEN_LIFE_S: Final = 3600
_MARK: Final = "netorch-join-1."
_MOST: Final = 2048  # characters
_SECRET_BYTES: Final = 32


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token. Its repr leaves the secret out."""

    host: str
    service: str  # HOST:PORT
    authority: str  # SHA-256 of the authority's certificate, in hexadecimal digits
    secret: str

    def __repr__(self) -> str:
        return f"Token({self.host})"

    def text(self) -> str:
        """Return the token as one word."""
        return _MARK + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def new_secret() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_of(secret: str) -> str:
    """Return what is stored of a secret. A slow hash would add nothing: 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_same(secret: str, stored: str) -> bool:
    """Return whether a secret is the one with this hash, in a time that says nothing about either."""
    return hmac.compare_digest(hash_of(secret), stored)


def parse_token(text: str) -> Token:
    """Return the token in a text. Raises IdentityError; the error does not quote the text."""
    word = text.strip()[:_MOST]
    body = word.removeprefix(_MARK) if word.startswith(_MARK) else ""
    try:
        return msgspec.json.decode(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True), type=Token)
    except (ValueError, msgspec.MsgspecError):
        raise IdentityError("token: not a token; give the whole line that `netorch host token` printed") from None
