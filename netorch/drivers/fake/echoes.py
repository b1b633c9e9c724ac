"""Echoes in memory: everybody answers at once but those whom a test has silenced."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netorch.drivers.base import Answer


class FakeEchoes:
    """Implements `netorch.drivers.base.Echoes`."""

    def __init__(self, answer: Callable[[str], Answer | None], sent: list[str], is_asked: Callable[[], bool]) -> None:
        """Note in `sent` whom echoes go to; `answer` is asked with each of them what comes back, if anything does."""
        self._answer = answer
        self._sent = sent
        self._is_asked = is_asked
        self._heard: dict[str, Answer] = {}

    def send(self, vteps: Iterable[str]) -> None:
        """Let everybody answer."""
        for vtep in sorted(vteps):
            self._sent.append(vtep)
            if (said := self._answer(vtep)) is not None:
                self._heard[vtep] = said

    def heard(self) -> dict[str, Answer]:
        """Return what everybody has answered since the last call."""
        heard, self._heard = self._heard, {}
        return heard

    def asked(self) -> bool:
        """Return whether somebody has asked this host."""
        return self._is_asked()

    def close(self) -> None:
        """Do nothing."""
