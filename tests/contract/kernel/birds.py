"""What somebody else does to a routing daemon: to the one in memory, and to bird."""

from __future__ import annotations

import os
import signal

from netorch.drivers.bird.border import Border
from netorch.drivers.bird.control import Control
from netorch.drivers.bird.driver import RUN
from netorch.model.addr import version_of
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer
from netorch.state.op import Delete
from tests.contract.kernel.both import FakeStand
from tests.contract.kernel.stands import HOST, Stand

_DIRECTORY = RUN / HOST


def kill(stand: Stand) -> None:
    """Kill the daemon."""
    if isinstance(stand, FakeStand):
        for obj in _objects(stand):
            stand.fake.disturb(Delete(obj))
        return
    with Control(_DIRECTORY / "bird.ctl", 1.0) as control:
        os.kill(control.pid(), signal.SIGKILL)


def reconfigure(stand: Stand) -> None:
    """Let the daemon run with another file."""
    if isinstance(stand, FakeStand):
        for obj in _objects(stand):
            del stand.fake.objects[obj.key]
        return
    other = _DIRECTORY / "other.conf"
    other.write_text((_DIRECTORY / "bird.conf").read_text() + 'hostname "another";\n')
    other.chmod(0o644)
    _birdc(f'configure "{other}"')


def switch_off(stand: Stand, announcement: Announcement) -> None:
    """Switch off that a prefix, and others of its IP version, are announced."""
    if isinstance(stand, FakeStand):
        for obj in _objects(stand):
            if isinstance(obj, Announcement) and version_of(obj.prefix) == version_of(announcement.prefix):
                del stand.fake.objects[obj.key]
        return
    _birdc(f"disable {Border.protocols_of(announcement)[0]}")


def _objects(stand: FakeStand) -> list[KernelObject]:
    return [obj for obj in stand.fake.objects.values() if isinstance(obj, BgpPeer | Announcement)]


def _birdc(command: str) -> None:
    with Control(_DIRECTORY / "bird.ctl", 1.0) as control:
        control.greet()
        control.ask(command)
