"""Renews the host's certificate when half of its life is over.

A thread asks the enrolment service, by the present certificate; the store says where the service is. New connections to the store
use the new certificate, open ones go on. A failure is repeated, and `netorch status` shows it once a quarter of the life is left.
The certificate's times are the wall clock's, which may jump, so that clock is read each time.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from netorch.agent.tasks.base import Task, Turn
from netorch.control.identities.tokens import enrolment_of
from netorch.errors import IdentityError, NetorchError, StoreError
from netorch.identity.asking import renew
from netorch.identity.authority import utc_now
from netorch.identity.files import OWN, read_own
from netorch.store import certificate_of

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 60.0
AGAIN_S: Final = 600.0  # after a failure; 1,000 agents spread over that time


def own_directory(store_url: str) -> Path | None:
    """Return the directory of the identity that opens a store, or None: SQLite, no certificate, or one of another authority."""
    path = certificate_of(store_url)
    return path.parent if path is not None and path.name == OWN else None


class Renewal(Task):
    """Keeps the identity in a directory valid."""

    def __init__(self, directory: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self._directory = directory
        self._clock = clock
        self._look_at = 0.0
        self._asking: threading.Thread | None = None
        self._failure = ""
        self.expires = 0.0  # seconds since 1970; 0: unknown

    def wake_at(self, now: float) -> float | None:
        """Return when to look at the certificate again."""
        return self._look_at

    def turn(self, turn: Turn) -> None:
        """Look whether the certificate is to be renewed, and let a thread do it."""
        if turn.now < self._look_at or (self._asking is not None and self._asking.is_alive()):
            self._look_at = max(self._look_at, turn.now + 1.0)
            return
        self._look_at = turn.now + LOOK_EVERY_S
        try:
            own = read_own(self._directory)
        except IdentityError as error:
            self.trouble = str(error)
            return
        now = self._clock()
        self.trouble, self.expires = "", own.expires.timestamp()
        if now >= own.late_at:
            reason = self._failure or "the enrolment service has not answered yet"
            self.trouble = f"the host's certificate expires {own.expires:%Y-%m-%d %H:%M} UTC and is not renewed: {reason}"
        if now >= own.renew_at and turn.store is not None:
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        assert turn.store is not None
        if self._failure:
            self._look_at = turn.now + AGAIN_S * random.uniform(0.5, 1.0)
        try:
            service = enrolment_of(turn.store)
        except StoreError as error:
            self._failure = str(error)
            return
        if service is None:
            self._failure = "the store names no enrolment service"
            return
        self._asking = threading.Thread(target=self._ask, args=(service.address,), name="renew certificate", daemon=True)
        self._asking.start()

    def _ask(self, service: str) -> None:
        try:
            own = renew(service, self._directory)
        except (NetorchError, OSError) as error:
            self._failure = str(error)
            log.warning("certificate not renewed reason=%r", self._failure)
        else:
            self._failure = ""
            log.info("certificate renewed expires=%s", own.expires.isoformat())
