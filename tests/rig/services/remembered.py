"""An in-memory service daemon for hosts whose services no test uses: starting a real one takes a second of CI.

It keeps its objects as long as its host's namespace lives, whichever driver object talks to it, as the real one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from netorch.drivers import linux
from netorch.drivers.base import KernelEvent
from netorch.drivers.services.driver import Services
from netorch.drivers.spaces import Spaces
from netorch.state.base import KernelObject, Key
from netorch.state.op import Delete, Failure, Op

_held: Final[dict[str, dict[Key, KernelObject]]] = {}  # by host


class Remembered:
    """Implements `netorch.drivers.base.Driver`."""

    kinds: Final = Services.kinds

    def __init__(self, label: str, held: dict[Key, KernelObject]) -> None:
        self.netns = label
        self._held = held

    def dump(self) -> dict[Key, KernelObject]:
        """Return the objects."""
        return dict(self._held)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Store or delete objects."""
        for op in ops:
            self._held.pop(op.obj.key, None)
            if not isinstance(op, Delete):
                self._held[op.obj.key] = op.obj
        return []

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing."""
        return {}

    def events(self) -> list[KernelEvent]:
        """Return nothing."""
        return []

    def fileno(self) -> None:
        """Return None."""

    def close(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Forget everything."""
        self._held.clear()


def remember(hosts: Sequence[str]) -> None:
    """Use the in-memory daemon on these hosts, and drop the objects of earlier hosts of the same names."""
    _held.update({host: {} for host in hosts})


def forget(hosts: Sequence[str]) -> None:
    """Use real daemons on these hosts again."""
    for host in hosts:
        _held.pop(host, None)


def _driver(label: str, spaces: Spaces, directory: Path) -> Services | Remembered:
    held = _held.get(directory.name)
    return Services(label, spaces, directory) if held is None else Remembered(label, held)


vars(linux)[Services.__name__] = _driver
