"""The key pair of an edge: with the public key anybody seals a secret for it (netorch.model.outside.secrets), it alone opens it.

The private key is a file of the edge, made when it is absent. Who replaces the disk of an edge loses it, and sets all secrets of
the edge again. What is opened stays in memory: no error and no text of an object tells anything of it.
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

from netorch.errors import KernelError
from netorch.model.outside.secrets import Secret


class EdgeKey:
    """The key pair in a file; `public` is its public half, base64."""

    def __init__(self, path: Path) -> None:
        """Read the key, or make one.

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
        """Return what is in a box.

        Raises:
          KernelError: it was sealed for another edge, or with a key that this edge had before, or it is damaged.
        """
        try:
            return msgspec.json.decode(self._box.decrypt(b64decode(box, validate=True)), type=Secret)
        except (ValueError, TypeError, CryptoError, msgspec.MsgspecError):
            # Not "from": the text of such an error may hold what was in the box.
            raise KernelError(
                "open a sealed secret", errno.EKEYREJECTED, "it was not sealed for the key that this edge has; set it again"
            ) from None


def _read(path: Path) -> PrivateKey:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(errno.EACCES, f"others may read it; chmod 600 {path}")
    try:
        return PrivateKey(b64decode(path.read_bytes(), validate=True))
    except (ValueError, TypeError, CryptoError):
        raise OSError(errno.EINVAL, "it is damaged; remove it, and set all secrets of this edge again") from None


def _make(path: Path) -> PrivateKey:
    """Make a key; of two who do so at once both get the key of one."""
    key, new = PrivateKey.generate(), path.with_name(f"{path.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)  # of one that was killed
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
