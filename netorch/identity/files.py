"""Files of keys and certificates. Keys are 0600 from the first byte, and a file is replaced by rename, never half written."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from netorch.errors import IdentityError
from netorch.identity.authority import Authority, Key, certificate_request, key_pem, loaded, new_key, user_of

AUTHORITY: Final = "ca.pem"  # in the same directory as `own.pem` on hosts, as `ca.key` on the authority's machine
AUTHORITY_KEY: Final = "ca.key"
OWN: Final = "own.pem"  # this machine's key and certificate in one file, so that one rename replaces both
_ASKED: Final = "asked.key"  # the key of a request that has not been answered yet
_DIRECTORY_MODE: Final = 0o700


class Own(msgspec.Struct, frozen=True):
    """Whom a certificate stands for, and when it is valid."""

    user: str
    begins: datetime
    expires: datetime

    @property
    def renew_at(self) -> datetime:
        """Return when to ask for the next certificate: after half of its life. The other half is there for failures."""
        return self.begins + (self.expires - self.begins) / 2

    @property
    def late_at(self) -> datetime:
        """Return when a certificate that was not renewed is a problem for people to solve."""
        return self.expires - (self.expires - self.begins) / 4

    @property
    def soon_at(self) -> datetime:
        """Return when to warn of the end of a certificate that only people renew: in the last third of its life."""
        return self.expires - (self.expires - self.begins) / 3


def read_own(directory: Path) -> Own:
    """Return the certificate of this machine. Raises IdentityError."""
    return own_of(loaded(_read(directory / OWN, secret=True).decode(errors="replace")))


def own_of(certificate: x509.Certificate) -> Own:
    """Return whom a certificate stands for, and when it is valid."""
    return Own(user_of(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def asked_key(directory: Path) -> Key:
    """Return the key of the pending request of this machine, or a new one.

    The key is kept until the request is answered: the service answers a repeated request only with the same key.

    Raises:
      IdentityError: the file cannot be read or written.
    """
    path = directory / _ASKED
    if not path.exists():
        write(path, key_pem(new_key()), secret=True)
    return _key(_read(path, secret=True), path)


def asked_request(directory: Path) -> str:
    """Return the pending request of this machine as PEM. Raises IdentityError."""
    return certificate_request(asked_key(directory))


def keep_answer(directory: Path, certificate_pem: str, authority_pem: str) -> Own:
    """Make the answer to the pending request this machine's identity, and return it. Raises IdentityError."""
    key = asked_key(directory)
    if loaded(certificate_pem).public_key() != key.public_key():
        raise IdentityError("certificate: the answer is for another key than requested; ask again")
    write(directory / AUTHORITY, authority_pem.encode())
    write(directory / OWN, key_pem(key) + certificate_pem.encode(), secret=True)
    with suppress(OSError):
        (directory / _ASKED).unlink()
    return read_own(directory)


def expect_no_authority(directory: Path) -> None:
    """Refuse to replace an authority, because all identities depend on it. Raises IdentityError."""
    if (directory / AUTHORITY_KEY).exists():
        fix = "`netorch ca operator` makes another operator, `netorch ca renew` signs one again"
        raise IdentityError(f"{directory / AUTHORITY_KEY}: an authority already exists; {fix}")


def save_authority(directory: Path, authority: Authority) -> None:
    """Write a new authority. Raises IdentityError, also if there is one already."""
    expect_no_authority(directory)
    write(directory / AUTHORITY, authority.pem.encode())
    write(directory / AUTHORITY_KEY, authority.key_pem(), secret=True)


def load_authority(directory: Path) -> Authority:
    """Return the authority in a directory. Raises IdentityError."""
    key = _read(directory / AUTHORITY_KEY, secret=True)
    return Authority.load(key, read_text(directory / AUTHORITY))


def read_text(path: Path) -> str:
    """Return the text of a public file. Raises IdentityError."""
    return _read(path).decode(errors="replace")


def write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace a file. A secret one is readable by its owner only, at any time. Raises IdentityError."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600 if secret else 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600 if secret else 0o644)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise IdentityError(f"{path}: {error.strerror}; choose a directory that this user can write") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            if secret and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise IdentityError(
                    f"{path}: others may read it; chmod 600 {path}, and replace the key if others may have read it"
                )
            return file.read()
    except OSError as error:
        raise IdentityError(f'{path}: {error.strerror}; docs/design/identities.md, "Files", says who makes it') from error


def _key(content: bytes, path: Path) -> Key:
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):  # not "from": the text may quote the key
        raise IdentityError(f"{path}: it contains no key; remove it and ask again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{path}: it contains no P-256 key; remove it and ask again")
    return key
