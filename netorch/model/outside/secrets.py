"""Secrets of tunnels and sessions, and how they are sealed for the one edge that may open them.

A box is libsodium's sealed box (X25519, XSalsa20, Poly1305) in base64: anybody can make one with the edge's public key, and only
the edge opens it (netorch.drivers.daemons.sealing). It says nothing of who has made it; the store says who may write there.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox


class Secret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is in a box: one of these. Its text shows nothing, in a log or an exception neither."""

    psk: str = ""  # a pre-shared key
    key: str = ""  # a private key, PEM
    md5: str = ""  # the key of a BGP session's TCP MD5 (RFC 2385)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


def seal(public: str, secret: Secret) -> str:
    """Return a box that only the edge with this public key can open. It is another one each time.

    Raises:
      ValueError: that is no public key.
    """
    try:
        key = PublicKey(b64decode(public, validate=True))
        return b64encode(SealedBox(key).encrypt(msgspec.json.encode(secret))).decode()
    except (ValueError, TypeError, CryptoError) as error:
        raise ValueError(f"{public!r} is no public key of an edge, which is 32 bytes in base64") from error
