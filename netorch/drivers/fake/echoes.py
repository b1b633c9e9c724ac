"""Echoes in memory: everybody answers at once but those whom a test has silenced."""

from __future__ import annotations

from collections.abc import Iterable, Set


class FakeEchoes:
    """Implements `netorch.drivers.base.Echoes`."""

    def __init__(self, silent: Set[str], sent: list[str]) -> None:
        """Note in `sent` whom echoes go to; `silent` is looked at with each of them."""
        self._silent = silent
        self._sent = sent
        self._heard: set[str] = set()

    def send(self, vteps: Iterable[str]) -> None:
        """Let those answer that are not silent."""
        for vtep in sorted(vteps):
            self._sent.append(vtep)
            if vtep not in self._silent:
                self._heard.add(vtep)

    def heard(self) -> set[str]:
        """Return who has answered since the last call."""
        heard, self._heard = self._heard, set()
        return heard

    def close(self) -> None:
        """Do nothing."""
