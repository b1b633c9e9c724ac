"""The daemon that serves instances, in memory, for hosts of which no test asks it anything: to start one takes a second of CI.

It keeps what it was told for as long as its host's namespace lives, whoever drives it, as the real one does.
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
        """Return what it was told."""
        return dict(self._held)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Keep what it is told."""
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
    """Let nobody start a daemon on these hosts; what was known of others of these names is forgotten."""
    _held.update({host: {} for host in hosts})


def forget(hosts: Sequence[str]) -> None:
    """Let hosts of these names have real daemons again."""
    for host in hosts:
        _held.pop(host, None)


def _driver(label: str, spaces: Spaces, directory: Path) -> Services | Remembered:
    held = _held.get(directory.name)
    return Services(label, spaces, directory) if held is None else Remembered(label, held)


vars(linux)[Services.__name__] = _driver
