"""Actions of another program on charon: on the fake in memory, and on a real charon."""

from __future__ import annotations

import os
import signal

from netorch.drivers.charon.control import Control
from netorch.drivers.charon.driver import RUN
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Delete
from tests.contract.kernel.both import FakeStand
from tests.contract.kernel.stands import HOST, Stand

_SOCKET = RUN / HOST / "charon.vici"


def kill(stand: Stand) -> None:
    """Kill the daemon."""
    if isinstance(stand, FakeStand):
        for obj in [obj for obj in stand.fake.objects.values() if isinstance(obj, IkeConnection)]:
            stand.fake.disturb(Delete(obj))
        return
    with Control(_SOCKET, 10.0) as control:
        os.kill(control.pid(), signal.SIGKILL)


def unload(stand: Stand, connection: IkeConnection) -> None:
    """Unload a connection from the daemon."""
    if isinstance(stand, FakeStand):
        del stand.fake.objects[connection.key]
        return
    with Control(_SOCKET, 10.0) as control:
        control.ask("unload-conn", {"name": connection.name})


def take_secrets(stand: Stand, *connections: IkeConnection) -> None:
    """Delete all secrets from the daemon, whose connections are the given ones."""
    if isinstance(stand, FakeStand):
        for connection in connections:
            del stand.fake.objects[connection.key]
        return
    with Control(_SOCKET, 10.0) as control:
        control.ask("clear-creds")
