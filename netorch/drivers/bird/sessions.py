"""The state of a running bird and its sessions: parsed replies to `show`."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise
from typing import Final

from netorch.drivers import netns
from netorch.drivers.base import CustomerSession
from netorch.drivers.bird.control import Control
from netorch.model.status import ESTABLISHED

_NAME: Final = "Hostname is "
_DOWN: Final = "down"
_STATE: Final = "BGP state"
_TRYING: Final = ("Connect", "Active")  # bird alternates between the two every few seconds, and the status would too
_LAST_ERROR: Final = "Last error"
_ROUTES: Final = "Routes"  # "3 imported, 1 exported, 2 preferred"
_LATELY_S: Final = 60.0
_NETSTAT: Final = "/proc/thread-self/net/netstat"
_NETLINK: Final = "/proc/thread-self/net/netlink"
_PROTOCOL, _DROPS, _INODE = 1, 8, 9  # columns of /proc/net/netlink
_ROUTE: Final = "0"  # NETLINK_ROUTE
# Segments with a wrong password, without one, or with an unexpected one. Source: linux/snmp.h.
_PASSWORD_COUNTS: Final = ("TCPMD5Failure", "TCPMD5NotFound", "TCPMD5Unexpected")


def name_of(control: Control) -> str:
    """Return the name of bird's configuration. Raises BirdError."""
    names = (line.removeprefix(_NAME) for line in control.ask("show status") if line.startswith(_NAME))
    return next(names, "")


def switched_off(control: Control) -> set[str]:
    """Return the protocols that are down; a session that merely fails to connect is not. Raises BirdError."""
    rows = [line.split() for line in control.ask("show protocols")]
    return {row[0] for row in rows if len(row) > 3 and row[3] == _DOWN}


def states(control: Control) -> dict[str, CustomerSession]:
    """Return each session's state by its protocol. Raises BirdError."""
    found: dict[str, dict[str, str]] = {}
    said: dict[str, str] = {}
    for line in control.ask("show protocols all"):
        if line and not line.startswith(" "):  # the row of the next protocol; all its details are indented
            said = found[line.split(maxsplit=1)[0]] = {}
        name, _, value = line.partition(":")
        said.setdefault(name.strip(), value.strip())
    return {name: _state(said) for name, said in found.items() if _STATE in said}


def _state(lines: dict[str, str]) -> CustomerSession:
    state = lines[_STATE].replace(*_TRYING)
    accepted = lines.get(_ROUTES, "").partition(" ")[0]
    return CustomerSession(
        state=state,
        reason=lines.get(_LAST_ERROR, "") if state != ESTABLISHED else "",
        accepted=int(accepted) if accepted.isdigit() else 0,
    )


class RefusedPasswords:
    """Detects that a namespace has recently dropped TCP segments because of their password."""

    def __init__(self, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        self._fd = fd
        self._count = 0
        self._grew_at = -_LATELY_S

    def lately(self) -> bool:
        """Return whether the counters grew within the last minute, as seen by these calls; unreadable ones did not."""
        count, now = self._count, time.monotonic()
        with suppress(OSError):  # e.g. no descriptor is left
            count = _refused_segments(self._fd)
        if count > self._count:
            self._count, self._grew_at = count, now
        return now - self._grew_at < _LATELY_S


class LostWord:
    """Detects that route netlink notifications to sockets in a namespace were dropped for lack of buffer space."""

    def __init__(self, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        self._fd = fd
        self._known: dict[str, int] = {}  # by socket inode
        self._counts: dict[str, int] = {}

    def any(self) -> bool:
        """Return whether there are more drops than at the last `forget`. Source: netlink_seq_show in af_netlink.c."""
        with netns.inside(self._fd), open(_NETLINK, encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
        self._counts = {row[_INODE]: int(row[_DROPS]) for row in rows if row[_PROTOCOL] == _ROUTE}
        return any(count > self._known.get(inode, 0) for inode, count in self._counts.items())

    def forget(self) -> None:
        """Acknowledge the drops found by `any`."""
        self._known = self._counts


def _refused_segments(fd: int) -> int:
    with netns.inside(fd), open(_NETSTAT, encoding="ascii") as file:
        rows = [line.split() for line in file]
    counts = {
        name: int(count)
        for names, found in pairwise(rows)
        for name, count in zip(names[1:], found[1:], strict=False)
        if count.isdigit() and names[0] == found[0]
    }
    return sum(counts.get(name, 0) for name in _PASSWORD_COUNTS)
