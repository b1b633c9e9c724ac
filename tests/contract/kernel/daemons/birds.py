"""Actions of another program on a routing daemon: on the fake in memory, and on bird."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from netorch.drivers.bird.border import Border
from netorch.drivers.bird.config import Config
from netorch.drivers.bird.control import Control
from netorch.drivers.bird.driver import border_directory, customers_directory
from netorch.model.addr import version_of
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement
from netorch.state.op import Delete
from tests.contract.kernel.both import FakeStand
from tests.contract.kernel.stands import HOST, Stand


def kill(stand: Stand, of: type[Config]) -> None:
    """Kill the daemon."""
    if isinstance(stand, FakeStand):
        for obj in _objects(stand, of):
            stand.fake.disturb(Delete(obj))
        return
    with Control(_directory(of) / "bird.ctl", 10.0) as control:
        os.kill(control.pid(), signal.SIGKILL)


def reconfigure(stand: Stand, of: type[Config]) -> None:
    """Run the daemon with another configuration file."""
    if isinstance(stand, FakeStand):
        for obj in _objects(stand, of):
            del stand.fake.objects[obj.key]
        return
    directory = _directory(of)
    other = directory / "other.conf"
    other.write_text((directory / "bird.conf").read_text() + 'hostname "another";\n')
    other.chmod(0o644)
    _birdc(of, f'configure "{other}"')


def switch_off(stand: Stand, announcement: Announcement) -> None:
    """Disable the announcement of a prefix, and of all prefixes of its IP version."""
    if isinstance(stand, FakeStand):
        for obj in _objects(stand, Border):
            if isinstance(obj, Announcement) and version_of(obj.prefix) == version_of(announcement.prefix):
                del stand.fake.objects[obj.key]
        return
    _birdc(Border, f"disable {Border.protocols_of(announcement)[0]}")


def _objects(stand: FakeStand, of: type[Config]) -> list[KernelObject]:
    return [obj for obj in stand.fake.objects.values() if obj.kind in of.kinds]


def _directory(of: type[Config]) -> Path:
    return border_directory(HOST) if of is Border else customers_directory(HOST)


def _birdc(of: type[Config], command: str) -> None:
    with Control(_directory(of) / "bird.ctl", 10.0) as control:
        control.greet()
        control.ask(command)
