"""In-memory echoes: every host answers at once, unless a test has silenced it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netorch.drivers.base import Answer


class FakeEchoes:
    """Implements `netorch.drivers.base.Echoes`."""

    def __init__(self, answer: Callable[[str], Answer | None], sent: list[str], is_asked: Callable[[], bool]) -> None:
        """`sent` records the destinations of echoes; `answer` returns the answer of a destination, or None."""
        self._answer = answer
        self._sent = sent
        self._is_asked = is_asked
        self._heard: dict[str, Answer] = {}

    def send(self, vteps: Iterable[str]) -> None:
        """Record the answers of all VTEPs."""
        for vtep in sorted(vteps):
            self._sent.append(vtep)
            if (said := self._answer(vtep)) is not None:
                self._heard[vtep] = said

    def heard(self) -> dict[str, Answer]:
        """Return each host's answer since the last call."""
        heard, self._heard = self._heard, {}
        return heard

    def asked(self) -> bool:
        """Return whether another host has sent an echo to this host."""
        return self._is_asked()

    def close(self) -> None:
        """Do nothing."""
