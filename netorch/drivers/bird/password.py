"""Passwords of BGP sessions (TCP MD5, RFC 2385): their sources, and valid values. None is ever stored or shown.

An edge's password for the border router is in a file on the edge. The keys of customers' sessions are sealed for the edge,
and decrypted here.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final, Protocol

from netorch.drivers.bird.config import Session
from netorch.drivers.bird.control import BirdError, Refused
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.errors import KernelError
from netorch.state.daemons.bgp import CustomerPeer

Stamp = tuple[int, int, int]

FILE: Final = Path("/etc/netorch/bgp-password")
MOST: Final = 80  # characters. Source: TCP_MD5SIG_MAXKEYLEN, linux/tcp.h
_WANTED: Final = f'a password is one line of at most {MOST} printable ASCII characters, without "'


class Passwords(Protocol):
    """The required passwords of sessions."""

    def of(self, session: Session) -> str:
        """Return the required password of a session; empty for none. Raises BirdError."""
        ...

    def is_wanted(self, session: Session, password: str) -> bool:
        """Return whether this is the required password of a session; empty means none."""
        ...

    def note(self) -> None:
        """Record the present passwords for `changed`."""
        ...

    def changed(self) -> bool:
        """Return whether passwords may have changed since `note`."""
        ...


class PasswordFile:
    """Implements `Passwords`: all sessions have the password in the file."""

    def __init__(self) -> None:
        self._seen = stamp(FILE)

    def of(self, session: Session) -> str:
        return read_password(FILE)

    def is_wanted(self, session: Session, password: str) -> bool:
        try:
            return password == self.of(session)
        except BirdError:
            return False

    def note(self) -> None:
        self._seen = stamp(FILE)

    def changed(self) -> bool:
        return self._seen != stamp(FILE)


class SealedPasswords:
    """Implements `Passwords`: each session has its own, sealed for this host. Without a key, only its existence is checked."""

    def __init__(self, key: EdgeKey | None) -> None:
        self._key = key

    def of(self, session: Session) -> str:
        assert isinstance(session, CustomerPeer)
        if not session.secret:
            return ""
        if self._key is None:
            raise Refused("open a sealed key: this host has no key of its own", errno.EKEYREJECTED)
        try:
            text = self._key.open(session.secret).md5
        except KernelError as error:
            raise Refused(str(error), error.errno) from None
        if not is_password(text):
            raise Refused(f"{session.name}: {_WANTED}; set it again", errno.EINVAL)
        return text

    def is_wanted(self, session: Session, password: str) -> bool:
        assert isinstance(session, CustomerPeer)
        if self._key is None:
            return bool(password) == bool(session.secret)
        try:
            return password == self.of(session)
        except BirdError:
            return False

    def note(self) -> None:
        pass

    def changed(self) -> bool:
        return False  # another sealed key is another object


def read_password(path: Path) -> str:
    """Return the password in a file; empty if the file does not exist, and sessions have no password.

    Raises:
      BirdError: users other than the owner may read the file, or its content is no valid password.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip("\n")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BirdError(f"{path}: {_WANTED}: {error}", errno.EINVAL) from error
    if stat.S_IMODE(mode) & 0o077:
        raise BirdError(f"{path}: others may read the password; chmod 600 {path}", errno.EACCES)
    if not is_password(text):
        raise BirdError(f"{path}: {_WANTED}", errno.EINVAL)
    return text


def is_password(text: str) -> bool:
    """Return whether Linux and bird's file accept this password."""
    return 0 < len(text) <= MOST and text.isascii() and text.isprintable() and '"' not in text


def stamp(path: Path) -> Stamp:
    """Return values that change when a file is written."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
