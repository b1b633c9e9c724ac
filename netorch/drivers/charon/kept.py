"""The file of connections loaded into charon: charon shows too little for a later agent to reconstruct its objects.

The file has no plaintext secrets: each secret stays in the sealed box in which it arrived. An unreadable file counts as
empty.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from netorch.decoding import decoder_of
from netorch.state.daemons.ike import IkeConnection


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, and the id that charon gave to its private key."""

    connection: IkeConnection
    key: str = ""


class KeptFile:
    """The file. It is read again only when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._found: Mapping[str, Kept] = {}

    def read(self) -> Mapping[str, Kept]:
        """Return the stored connections by name; none if there is no file, or no valid one. Raises OSError."""
        try:
            stat = self._path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._stamp:
                self._found = decoder_of(dict[str, Kept]).decode(self._path.read_bytes())
                self._stamp = (stat.st_ino, stat.st_mtime_ns)
        except (FileNotFoundError, msgspec.MsgspecError):
            self._found, self._stamp = {}, None
        return self._found

    def write(self, kept: Mapping[str, Kept]) -> None:
        """Replace the file, which is readable only by its owner. Raises OSError."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(kept))
        new.replace(self._path)
