"""Which edges answer: conclusions from rounds of echoes. No I/O.

An edge is silent once it has missed the last four rounds, and back once it has answered three in a row. A round is evaluated
after all received answers are read and before the next round is sent, and never before an answer has had its time. So an agent
that is late, because of a large turn or a stalled machine, still finds the answers and takes no edge for silent. It only
notices later.

Rounds also decide which edges are active. If no host could reach an edge for as long as hosts need to leave it, its gateways may
have been taken over. When that edge comes back it is on standby as long as another edge of its pair is active: otherwise the
connections opened there would end. Each edge decides for itself and reports this in its answers, so all hosts choose alike
without the store. Both edges of a pair may be active: then each gateway is at its first seat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Set
from typing import Final

from netorch.model.mapping import GatewayMapping
from netorch.model.routing.seats import seat_for

# An edge that fails right after an answer is noticed after 4 to 5 rounds: 1.25 s at most.
ROUND_S: Final = 0.25
ANSWER_S: Final = 0.2  # minimum time for an answer, however late a round was sent
MISSES: Final = 4
ANSWERS: Final = 3


class Liveness:
    """For each edge, by VTEP, the rounds answered or missed in a row."""

    def __init__(self) -> None:
        self._missed: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()

    def evaluate(self, silent: Set[str], asked: Collection[str], heard: Set[str]) -> frozenset[str]:
        """Return which edges are silent after a round.

        `silent` are the edges that were silent before, `asked` those that got echoes, `heard` those that have answered since.
        """
        for vtep in asked:
            counter, other = (self._answered, self._missed) if vtep in heard else (self._missed, self._answered)
            counter[vtep] += 1
            del other[vtep]
        lost = {vtep for vtep in asked if self._missed[vtep] >= MISSES}
        back = {vtep for vtep in asked if self._answered[vtep] >= ANSWERS}
        return frozenset((silent | lost) - back)

    def forget(self, known: Set[str]) -> None:
        """Forget all edges but these."""
        for counter in (self._missed, self._answered):
            for vtep in counter.keys() - known:
                del counter[vtep]


class Standing:
    """Whether an edge is active: for how many rounds it was unreachable, and for how many no other edge was active."""

    def __init__(self) -> None:
        self._away = 0
        self._alone = 0

    def evaluate(self, active: bool, *, reachable: bool, rival: bool) -> bool:
        """Return whether an edge is active after a round.

        `active` is the previous result. `reachable` is whether the edge is ready and has received echoes or answers of others.
        `rival` is whether another edge of its pair has answered that it is active. An edge that is back waits for that answer.
        """
        self._away = 0 if reachable else self._away + 1
        self._alone = self._alone + 1 if reachable and not rival and not active else 0
        return self._away < MISSES if active else self._alone >= MISSES


def passed_over(host: str, mapping: GatewayMapping, vtep: str) -> frozenset[str]:
    """Return the edges that must be silent, or on standby, for a host to send to this VTEP; none if it has no seat.

    With this a restarted agent learns from the kernel which edges the last run had left.
    """
    passed: set[str] = set()
    if any(seat.vtep == vtep for seat in mapping.seats):
        while (chosen := seat_for(host, mapping, passed).vtep) != vtep:
            passed.add(chosen)
    return frozenset(passed)
