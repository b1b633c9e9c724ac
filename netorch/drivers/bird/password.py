"""The password of an edge's BGP sessions (TCP MD5, RFC 2385): a file of the edge's, which is never stored or shown."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

from netorch.drivers.bird.control import BirdError

FILE: Final = Path("/etc/netorch/bgp-password")
MOST: Final = 80  # characters. Source: TCP_MD5SIG_MAXKEYLEN, linux/tcp.h
_WANTED: Final = f'a password is one line of at most {MOST} printable ASCII characters, without "'


def read_password(path: Path) -> str:
    """Return the password in a file; nothing if there is no such file, and sessions have none.

    Raises:
      BirdError: others than the owner may read it, or it is no password.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip("\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BirdError(f"{path}: {_WANTED}: {error}", errno.EINVAL) from error
    if stat.S_IMODE(mode) & 0o077:
        raise BirdError(f"{path}: others may read the password; chmod 600 {path}", errno.EACCES)
    if not 0 < len(text) <= MOST or not text.isprintable() or '"' in text:
        raise BirdError(f"{path}: {_WANTED}", errno.EINVAL)
    return text
