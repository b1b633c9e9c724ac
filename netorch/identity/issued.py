"""Copies of the certificates that the authority has signed for operators and for members of etcd. They say when each one ends.

Nothing else needs the copies. A certificate from before they were kept is not among them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from netorch.errors import IdentityError
from netorch.identity.authority import loaded
from netorch.identity.files import AUTHORITY, Own, own_of, read_text, write

MEMBER: Final = "member"
_DIRECTORY: Final = "issued"  # in the authority's directory


class Issued(msgspec.Struct, frozen=True):
    """A certificate that the authority has signed, or its own."""

    kind: str
    name: str  # of the operator, or the first name of the member
    certificate: Own
    path: Path


def keep(directory: Path, kind: str, name: str, certificate_pem: str) -> None:
    """Keep a certificate in place of the earlier one of that name. Raises IdentityError."""
    write(_path(directory, kind, name), certificate_pem.encode())


def forget(directory: Path, kind: str, name: str) -> bool:
    """Remove the copy of a certificate that is worthless from now on; return whether there was one."""
    with suppress(OSError):
        _path(directory, kind, name).unlink()
        return True
    return False


def issued(directory: Path) -> list[Issued]:
    """Return the known certificates of the authority in a directory, and its own; none on any other machine."""
    found = [("authority", "netorch", directory / AUTHORITY)]
    with suppress(OSError):
        for path in sorted((directory / _DIRECTORY).iterdir()):
            kind, _, name = path.name.removesuffix(".pem").partition("-")
            if name and path.suffix == ".pem" and not path.name.startswith("."):
                found.append((kind, name, path))
    read = []
    for kind, name, path in found:
        with suppress(IdentityError):
            read.append(Issued(kind, name, own_of(loaded(read_text(path))), path))
    return read


def _path(directory: Path, kind: str, name: str) -> Path:
    return directory / _DIRECTORY / f"{kind}-{name.replace('/', '_')}.pem"
