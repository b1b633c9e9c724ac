"""Secrets of tunnels and BGP sessions, sealed for the one edge that may open them.

A box is a libsodium sealed box (X25519, XSalsa20, Poly1305) in base64. Any holder of the edge's public key can create one; only
the edge can open it (netorch.drivers.daemons.sealing). A box does not authenticate its sender; the store controls who may write.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox


class Secret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The content of a box: exactly one of these fields. Its repr hides the secret in logs and exceptions."""

    psk: str = ""  # a pre-shared key
    key: str = ""  # a private key, PEM
    md5: str = ""  # the key of a BGP session's TCP MD5 (RFC 2385)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


def seal(public: str, secret: Secret) -> str:
    """Return a box that only the edge with this public key can open. Each call returns a different box.

    Raises:
      ValueError: `public` is not a public key.
    """
    try:
        key = PublicKey(b64decode(public, validate=True))
        return b64encode(SealedBox(key).encrypt(msgspec.json.encode(secret))).decode()
    except (ValueError, TypeError, CryptoError) as error:
        raise ValueError(f"{public!r} is not an edge's public key: 32 bytes in base64") from error
