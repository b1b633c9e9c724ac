"""What charon was told last, in a file: it shows too little for a later agent to read its objects back.

Nothing in it is plain: a secret is in the box in which it came. A file that cannot be read is one that says nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from netorch.state.daemons.ike import IkeConnection


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, and the id that charon has given to its private key."""

    connection: IkeConnection
    key: str = ""


def read(path: Path) -> dict[str, Kept]:
    """Return what is kept, by the name of the connection."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Kept])
    except (OSError, msgspec.MsgspecError):
        return {}


def write(path: Path, kept: dict[str, Kept]) -> None:
    """Replace the file, which nobody but its owner may read. Raises OSError."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(kept))
    new.replace(path)
