"""The modes of netorch's files: the owner may write; the group `netorch`, if it exists, may read; others nothing."""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import stat
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

GROUP: Final = "netorch"
DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o640
PRIVATE_MODE: Final = 0o600  # for files that even a read-only descriptor could lock


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents. An existing one of netorch's is closed to others. Raises OSError."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=DIRECTORY_MODE)
            give_to_group(directory)
    if not missing and GROUP in path.absolute().parts:  # a directory that is not netorch's alone keeps its mode: it may be /tmp
        tighten(path, DIRECTORY_MODE)


def tighten(path: Path, mode: int = FILE_MODE) -> None:
    """Remove permissions beyond `mode` from a file or directory, and log that. A file of another user stays unchanged."""
    try:
        found = path.stat()
    except OSError:
        return
    if found.st_uid != os.geteuid() or not (excess := stat.S_IMODE(found.st_mode) & 0o777 & ~mode):
        return
    with contextlib.suppress(OSError):
        path.chmod(stat.S_IMODE(found.st_mode) & ~excess)
        give_to_group(path)
        log.warning(
            "changed the mode of %s from %04o to %04o", path, stat.S_IMODE(found.st_mode), stat.S_IMODE(path.stat().st_mode)
        )


def give_to_group(path: Path) -> None:
    """Give a file that root has created to the group `netorch`."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError, OSError):
            os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
