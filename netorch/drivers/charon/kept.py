"""What charon was told last, in a file: it shows too little for a later agent to read its objects back.

Nothing in it is plain: a secret is in the box in which it came. A file that cannot be read is one that says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from netorch.state.daemons.ike import IkeConnection


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, and the id that charon has given to its private key."""

    connection: IkeConnection
    key: str = ""


class KeptFile:
    """The file; it is read again only when it is another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._found: Mapping[str, Kept] = {}

    def read(self) -> Mapping[str, Kept]:
        """Return what is kept, by the name of the connection."""
        try:
            stat = self._path.stat()
            if (stat.st_ino, stat.st_mtime_ns) != self._stamp:
                self._found = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Kept])
                self._stamp = (stat.st_ino, stat.st_mtime_ns)
        except (OSError, msgspec.MsgspecError):
            self._found, self._stamp = {}, None
        return self._found

    def write(self, kept: Mapping[str, Kept]) -> None:
        """Replace the file, which nobody but its owner may read. Raises OSError."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(kept))
        new.replace(self._path)
