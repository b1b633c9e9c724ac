"""Echoes in memory: everybody answers at once but those whom a test has silenced."""

from __future__ import annotations

from collections.abc import Iterable, Set


class FakeEchoes:
    """Implements `netorch.drivers.base.Echoes`."""

    def __init__(self, silent: Set[str], unready: Set[str], sent: list[str]) -> None:
        """Note in `sent` whom echoes go to; `silent` and `unready` are looked at with each of them."""
        self._silent = silent
        self._unready = unready
        self._sent = sent
        self._heard: dict[str, bool] = {}

    def send(self, vteps: Iterable[str]) -> None:
        """Let those answer that are not silent."""
        for vtep in sorted(vteps):
            self._sent.append(vtep)
            if vtep not in self._silent:
                self._heard[vtep] = vtep not in self._unready

    def heard(self) -> dict[str, bool]:
        """Return who has answered since the last call, and whether it is ready."""
        heard, self._heard = self._heard, {}
        return heard

    def close(self) -> None:
        """Do nothing."""
