"""What a service says to the manager that started it: sd_notify(3), one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping


class ServiceManager:
    """systemd, or nobody where the process was started by hand."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Take the variables from the environment: daemons that the agent starts must not speak for it."""
        self._address = environ.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)  # @: an abstract name
        limit_us = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", str(os.getpid()))
        is_watched = limit_us.isdecimal() and meant == str(os.getpid())
        self.every_s = (
            int(limit_us) / 2e6 if is_watched else float("inf")
        )  # how often it wants a sign of life: sd_watchdog_enabled(3)

    def ready(self) -> None:
        """Say that the service has started."""
        self._say("READY=1")

    def alive(self) -> None:
        """Give a sign of life."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(self._address)
            sock.send(text.encode())
