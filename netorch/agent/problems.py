"""Why slices are not as they should be: what cannot be compiled, what the kernel refuses, and when that is tried again.

The two are apart, because the one ends when a record is mended and the other when the kernel has taken everything: neither may
hide or end the other.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
PartId = tuple[str, str]  # a part of a compiler by its id, and the address of the mapping that it was compiled for, or nothing
VIEW: Final[PartId] = ("", "")  # what parts are compiled from
DISPUTE: Final[PartId] = ("disagreement", "")


class Refusal(msgspec.Struct):
    """What the kernel said last, when the slice is tried again, and the pause after that (seconds, monotonic)."""

    reason: str
    retry_at: float
    pause_s: float


class Problems:
    """The flaws and refusals of all slices."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}  # slice -> why it is not as it should be
        self._flaws: dict[int, dict[PartId, str]] = {}
        self._refusals: dict[int, Refusal] = {}

    def compiled(self, slice_id: int, part: PartId, flaw: str) -> None:
        """Note how compiling a part of a slice went; no flaw: well."""
        flaws = self._flaws.get(slice_id)
        if flaw:
            self._flaws.setdefault(slice_id, {})[part] = flaw
        elif flaws is None or flaws.pop(part, None) is None:
            return
        elif not flaws:
            del self._flaws[slice_id]
        self._tell(slice_id)

    def dropped_parts(self, slice_id: int, scope: str) -> None:
        """Forget the flaws of parts that were compiled for something whose name begins with `scope`."""
        for part in [part for part in self._flaws.get(slice_id, {}) if part[1].startswith(scope)]:
            self.compiled(slice_id, part, "")

    def dropped(self, slice_id: int) -> None:
        """Forget the flaws of a slice that is no longer asked for."""
        if self._flaws.pop(slice_id, None) is not None:
            self._tell(slice_id)

    def refused(self, slice_id: int, reason: str, now: float) -> None:
        """Note that the kernel refused something; the pause doubles each time."""
        known = self._refusals.get(slice_id)
        pause = known.pause_s if known is not None else RETRY_FIRST_S
        self._refusals[slice_id] = Refusal(reason, now + pause, min(pause * 2, RETRY_MAX_S))
        self._tell(slice_id)

    def taken(self, slice_id: int) -> None:
        """Note that the kernel holds everything that the slice asks for."""
        if self._refusals.pop(slice_id, None) is not None:
            self._tell(slice_id)

    def due(self, now: float) -> list[int]:
        """Return the slices that are to be tried again now."""
        found = [(slice_id, refusal) for slice_id, refusal in self._refusals.items() if refusal.retry_at <= now]
        for _, refusal in found:
            refusal.retry_at = now + refusal.pause_s
        return [slice_id for slice_id, _ in found]

    def next_retry(self) -> float | None:
        """Return when `due` may next have something."""
        return min((refusal.retry_at for refusal in self._refusals.values()), default=None)

    def _tell(self, slice_id: int) -> None:
        flaws, refusal = self._flaws.get(slice_id), self._refusals.get(slice_id)
        text = flaws[min(flaws)] if flaws else refusal.reason if refusal is not None else ""
        before = self.texts.get(slice_id, "")
        if text and text != before:
            self.texts[slice_id] = text
            log.warning("degraded vni=%d problem=%r", slice_id, text)
        elif not text and before:
            del self.texts[slice_id]
            log.info("repaired vni=%d", slice_id)
