"""Actions of another program on the service daemon: on the fake in memory, and on a real daemon."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from netorch.drivers.services.control import Control
from netorch.drivers.services.driver import services_directory
from netorch.state.base import UNDERLAY
from netorch.state.daemons.services.base import ServiceObject
from netorch.state.op import Delete
from tests.contract.kernel.both import FakeStand
from tests.contract.kernel.stands import HOST, Stand

NOBODY = 65534
SOCKET = services_directory(HOST, UNDERLAY) / "control"


def send(stand: Stand, number: signal.Signals) -> None:
    """Send the daemon a signal; the fake loses all service objects."""
    if isinstance(stand, FakeStand):
        for obj in [obj for obj in stand.fake.objects.values() if isinstance(obj, ServiceObject)]:
            stand.fake.disturb(Delete(obj))
        return
    with Control(SOCKET, 10.0) as control:
        os.kill(control.pid(), number)


def users(stand: Stand) -> set[int]:
    """Return the user and group ids under which the daemon runs."""
    if isinstance(stand, FakeStand):
        return {NOBODY}
    with Control(SOCKET, 10.0) as control:
        status = Path(f"/proc/{control.pid()}/status").read_text()
    lines = [line.split() for line in status.splitlines() if line.startswith(("Uid:", "Gid:", "Groups:"))]
    return {int(word) for line in lines for word in line[1:]}
