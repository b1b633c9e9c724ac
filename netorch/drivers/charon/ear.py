"""A connection for charon's events. It lasts as long as charon does."""

from __future__ import annotations

import select
import time
from typing import Final

from netorch.drivers.charon.control import CharonError, Control, Section
from netorch.drivers.charon.daemon import ANSWER_S, Daemon

_EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey")
_LOG: Final = "log"
_MOST: Final = 2000  # log lines a second: strangers can cause any number of them
_REST_S: Final = 60.0  # seconds without the log after exceeding the limit


class Ear:
    """Listens to a daemon. Its descriptor stays the same across connections."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._control: Control | None = None
        self._ready = select.epoll()
        self._rests_until = 0.0  # on the monotonic clock
        self._second, self._lines = 0, 0

    def open(self) -> None:
        """Listen, unless already listening. Raises CharonError."""
        now = time.monotonic()
        if self._rests_until and now >= self._rests_until:
            self._rests_until = 0.0
            self.shut()
        if self._control is not None:
            return
        control = Control(self._daemon.socket, ANSWER_S)
        try:
            control.listen(_EVENTS if self._rests_until else (*_EVENTS, _LOG))
        except CharonError:
            control.close()
            raise
        self._control = control
        self._ready.register(control.fileno(), select.EPOLLIN)

    def shut(self) -> None:
        """Stop listening."""
        if self._control is not None:
            self._ready.unregister(self._control.fileno())
            self._control.close()
            self._control = None

    def heard(self) -> list[tuple[str, Section]]:
        """Return the received events with their names; never blocks."""
        if self._control is None:
            return []
        try:
            events = self._control.received()
        except CharonError:
            self.shut()
            return []
        if self._too_many(sum(name == _LOG for name, _ in events)):
            self._rests_until = time.monotonic() + _REST_S
            self.shut()  # opened again without the log when the tunnels are read
        return events

    def fileno(self) -> int:
        """Return a descriptor that is readable when an event has arrived."""
        return self._ready.fileno()

    def close(self) -> None:
        """Close the connection."""
        self.shut()
        self._ready.close()

    def _too_many(self, lines: int) -> bool:
        second = int(time.monotonic())
        self._lines = lines + (self._lines if second == self._second else 0)
        self._second = second
        return self._lines > _MOST
