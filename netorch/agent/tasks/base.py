"""The base of tasks: a task is work of an agent besides keeping the kernel equal to the records.

A new task is one class in this folder and one line in `netorch.agent.loop.Agent`; the loop knows no task by name.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import msgspec

from netorch.agent.indexes.dirty import Dirty
from netorch.drivers.base import KernelEvent
from netorch.store.base import Store


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of the loop, as tasks see it after the kernel was brought up to date."""

    now: float  # by the agent's clock
    dirty: Dirty = msgspec.field(default_factory=Dirty)  # what changed in the records
    applied: Set[int] = frozenset()  # slices whose objects were compared with the kernel's, or written
    store: Store | None = None  # None: the store is away, or the records are behind it
    speaks: bool = True  # whether this agent may write for the host: it holds the host's live record

    @property
    def writable(self) -> Store | None:
        """Return the store if this agent may write for the host now."""
        return self.store if self.speaks else None


class Task:
    """The base of all tasks; most need only `turn`."""

    trouble: str = ""  # a problem of the whole host that `netorch status` shows, or nothing

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when there is work."""
        return None

    def wake_at(self, now: float) -> float | None:
        """Return when a turn is needed at the latest, by the agent's clock."""
        return None

    def on_kernel(self, events: Sequence[KernelEvent]) -> None:
        """Note what the kernel has reported, before anything is compiled."""

    def turn(self, turn: Turn) -> None:
        """Do the work that is due; never block for long."""
        raise NotImplementedError

    def close(self) -> None:
        """Close descriptors."""
