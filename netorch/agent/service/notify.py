"""Messages of a service to its manager: sd_notify(3), one datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping


class ServiceManager:
    """systemd, or no manager if the process was started by hand."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Take the variables out of the environment: daemons started by the agent must not send in its name."""
        self._address = environ.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)  # @: an abstract socket
        limit_us = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", str(os.getpid()))
        is_watched = limit_us.isdecimal() and meant == str(os.getpid())
        # The interval of WATCHDOG=1, half the limit: sd_watchdog_enabled(3).
        self.every_s = int(limit_us) / 2e6 if is_watched else float("inf")

    def ready(self) -> None:
        """Report that the service has started."""
        self._say("READY=1")

    def alive(self) -> None:
        """Report that the service is alive."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(self._address)
            sock.send(text.encode())
