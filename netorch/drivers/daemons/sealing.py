"""An edge's key pair: anyone can seal a secret with the public key (netorch.model.outside.secrets); only the edge opens it.

The private key is a file on the edge, created if absent. Replacing the edge's disk loses it, and all secrets of the edge must
be set again. Decrypted secrets stay in memory: neither errors nor texts of objects contain them.
"""

from __future__ import annotations

import errno
import os
import stat
from base64 import b64decode, b64encode
from pathlib import Path

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from netorch.decoding import decoder_of
from netorch.errors import KernelError
from netorch.model.outside.secrets import Secret


class EdgeKey:
    """The key pair in a file; `public` is its public half, base64."""

    def __init__(self, path: Path) -> None:
        """Read the key, or create it.

        Raises:
          KernelError: others may read the file, it holds no key, or it cannot be written.
        """
        try:
            key = _read(path) if path.exists() else _make(path)
        except OSError as error:
            raise KernelError(f"read the edge's key {path}", error.errno or 0, error.strerror or "") from error
        self.public = b64encode(bytes(key.public_key)).decode()
        self._box = SealedBox(key)

    def __repr__(self) -> str:
        return f"EdgeKey({self.public})"

    def open(self, box: str) -> Secret:
        """Return the content of a sealed box.

        Raises:
          KernelError: it was sealed for another edge or for an earlier key of this edge, or it is damaged.
        """
        try:
            return decoder_of(Secret).decode(self._box.decrypt(b64decode(box, validate=True)))
        except (ValueError, TypeError, CryptoError, msgspec.MsgspecError):
            # Not "from": the error's text may contain the box's content.
            raise KernelError(
                "open a sealed secret", errno.EKEYREJECTED, "it was sealed for another key than this edge has; set it again"
            ) from None


def _read(path: Path) -> PrivateKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(errno.EACCES, f"others may read it; chmod 600 {path}")
    try:
        return PrivateKey(b64decode(path.read_bytes(), validate=True))
    except (ValueError, TypeError, CryptoError):
        raise OSError(errno.EINVAL, "it is damaged; remove it, and set all secrets of this edge again") from None


def _make(path: Path) -> PrivateKey:
    """Create a key; if two processes do so at once, both get the same key."""
    key, new = PrivateKey.generate(), path.with_name(f"{path.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)  # left by a killed process
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(b64encode(bytes(key)))
            file.flush()
            os.fsync(file.fileno())
        os.link(new, path)
    except FileExistsError:
        return _read(path)
    finally:
        new.unlink(missing_ok=True)
    return key
