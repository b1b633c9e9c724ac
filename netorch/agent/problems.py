"""Problems of slices: what cannot be compiled, what the kernel refuses, and when to retry.

The two are separate: a compile error ends when a record is repaired, a refusal when the kernel has taken everything. Neither
may hide or end the other. Objects that parts had to leave out are a problem, too, but the rest of the slice is in force.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from netorch.compiler.registry import LeftOut
from netorch.state.base import HOST_SLICE, PORTS, Key
from netorch.state.op import Failure

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
PartId = tuple[str, str]  # part of a compiler by its id, and the address of its mapping or nothing
VIEW: Final[PartId] = ("", "")  # the view, the input of all parts
DISPUTE: Final[PartId] = ("disagreement", "")


class KernelFailure(msgspec.Struct):
    """The kernel's last error, when the slice is retried, and the pause after that (seconds, monotonic)."""

    reason: str
    retry_at: float
    pause_s: float


class Problems:
    """The compile errors and kernel failures of all slices."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}  # slice -> its problem
        self._compile_errors: dict[int, dict[PartId, str]] = {}
        self._failures: dict[int, KernelFailure] = {}
        self._left_out: dict[int, dict[str, LeftOut]] = {}  # slice -> part -> the objects that it had to leave out

    def in_force(self, slice_id: int) -> bool:
        """Return whether everything was compiled, and the kernel refused nothing."""
        return slice_id not in self._compile_errors and slice_id not in self._failures

    def is_refused(self, slice_id: int) -> bool:
        """Return whether the kernel last refused something of a slice."""
        return slice_id in self._failures

    def compiled(self, slice_id: int, part: PartId, problem: str) -> None:
        """Record the result of compiling a part of a slice; an empty problem is a success."""
        errors = self._compile_errors.get(slice_id)
        if problem:
            self._compile_errors.setdefault(slice_id, {})[part] = problem
        elif errors is None or errors.pop(part, None) is None:
            return
        elif not errors:
            del self._compile_errors[slice_id]
        self._tell(slice_id)

    def failed_parts(self, slice_id: int) -> frozenset[str]:
        """Return the ids of a slice's parts that could not be compiled, without those of mappings."""
        return frozenset(part for part, scope in self._compile_errors.get(slice_id, ()) if not scope)

    def peers_left_out(self, slice_id: int) -> frozenset[int]:
        """Return the VNIs of a VPC's peers whose interfaces belong to no group on this host."""
        return frozenset().union(*(found.peers for found in self._left_out.get(slice_id, {}).values()))

    def left_out(self, slice_id: int, part_id: str, what: LeftOut) -> None:
        """Record what a part had to leave out of a slice."""
        found = {**self._left_out.pop(slice_id, {}), part_id: what}
        if kept := {part: left for part, left in found.items() if left.text}:
            self._left_out[slice_id] = kept
        self._tell(slice_id)

    def dropped_parts(self, slice_id: int, scope: str) -> None:
        """Forget the compile errors of parts whose name begins with `scope`."""
        for part in [part for part in self._compile_errors.get(slice_id, {}) if part[1].startswith(scope)]:
            self.compiled(slice_id, part, "")

    def dropped(self, slice_id: int) -> None:
        """Forget the compile errors of a dropped slice, and what was left out of it."""
        self._compile_errors.pop(slice_id, None)
        self._left_out.pop(slice_id, None)
        self._tell(slice_id)

    def refused(self, slice_id: int, reason: str, now: float) -> None:
        """Record a refusal by the kernel; the pause doubles each time."""
        known = self._failures.get(slice_id)
        pause = known.pause_s if known is not None else RETRY_FIRST_S
        self._failures[slice_id] = KernelFailure(reason, now + pause, min(pause * 2, RETRY_MAX_S))
        self._tell(slice_id)

    def taken(self, slice_id: int) -> None:
        """Record that the kernel holds everything that the slice wants."""
        if self._failures.pop(slice_id, None) is not None:
            self._tell(slice_id)

    def due(self, now: float) -> list[int]:
        """Return the slices to retry now."""
        found = [(slice_id, failure) for slice_id, failure in self._failures.items() if failure.retry_at <= now]
        for _, failure in found:
            failure.retry_at = now + failure.pause_s
        return [slice_id for slice_id, _ in found]

    def next_retry(self) -> float | None:
        """Return the next time for `due`."""
        return min((failure.retry_at for failure in self._failures.values()), default=None)

    def _tell(self, slice_id: int) -> None:
        errors, failure = self._compile_errors.get(slice_id), self._failures.get(slice_id)
        left_out = "; ".join(found.text for _, found in sorted(self._left_out.get(slice_id, {}).items()))
        text = errors[min(errors)] if errors else failure.reason if failure is not None else left_out
        before = self.texts.get(slice_id, "")
        if text and text != before:
            self.texts[slice_id] = text
            log.warning("degraded vni=%d problem=%r", slice_id, text)
        elif not text and before:
            del self.texts[slice_id]
            log.info("repaired vni=%d", slice_id)


def by_slice(failures: Iterable[Failure]) -> dict[int, list[Failure]]:
    """Return failures by the slice that they degrade.

    A refused object of the host's own slice stops all VPCs, except objects that no VPC waits for and objects that depend on
    those.
    """
    found: dict[int, list[Failure]] = {}
    aside: set[Key | None] = set()
    for failure in failures:
        obj = failure.op.obj
        if obj.vni == HOST_SLICE and (not obj.is_waited_for or not aside.isdisjoint((obj.parent, obj.needs))):
            aside.add(obj.key)
        found.setdefault(PORTS if obj.key in aside else obj.vni, []).append(failure)
    return found
