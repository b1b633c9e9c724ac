"""Drops the process's privileges before it serves anything, for the rest of its life."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from typing import Final

NOBODY: Final = 65534  # source: Debian's base-passwd, nobody and nogroup
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # source: linux/prctl.h


def give_up() -> None:
    """Become the user nobody, and keep other processes of this user from reading this one.

    In a user namespace without this user, e.g. in an ordinary user's lab, the process keeps its user.

    Raises:
      OSError: the kernel refused.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        os.setgroups(())
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        if os.geteuid() == 0 and _has_nobody():
            raise
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def _has_nobody() -> bool:
    """Return whether this user namespace has the user nobody. Source: user_namespaces(7), uid_map."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    return any(first <= NOBODY < first + count for first, _, count in ranges)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
