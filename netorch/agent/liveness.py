"""Which edges answer: what follows from rounds of echoes. Nothing here does I/O.

An edge is silent once it has answered none of the last four rounds, and is back once it has answered three in a row. A round is
evaluated when all answers that have come are read, before the next one is sent: not before an answer has had its time. So an
agent that is late, because of a large turn or a stalled machine, finds the answers and takes nobody for silent. It only notices
later.

Which edges are active follows from rounds as well. An edge whose gateways may have been taken over, since nobody could reach it
for as long as hosts need to leave it, is on standby when it comes back, as long as another edge of its pair is active: what that
has begun would end. Each edge decides for itself, and says so in its answers; so all hosts choose alike, without the store. Both
edges of a pair may be active: then each gateway is at its first seat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Set
from typing import Final

from netorch.model.mapping import GatewayMapping
from netorch.model.routing.seats import seat_for

# An edge that fails right after an answer is noticed after 4 to 5 rounds: 1.25 s at most.
ROUND_S: Final = 0.25
ANSWER_S: Final = 0.2  # what an answer has at least, however late a round was sent
MISSES: Final = 4
ANSWERS: Final = 3


class Liveness:
    """How often edges, by VTEP, have answered or not since the last change of either."""

    def __init__(self) -> None:
        self._missed: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()

    def evaluate(self, silent: Set[str], asked: Collection[str], heard: Set[str]) -> frozenset[str]:
        """Return which edges are silent after a round.

        `silent` are those that were, `asked` those that echoes were sent to, and `heard` those that have answered since then.
        """
        for vtep in asked:
            counter, other = (self._answered, self._missed) if vtep in heard else (self._missed, self._answered)
            counter[vtep] += 1
            del other[vtep]
        lost = {vtep for vtep in asked if self._missed[vtep] >= MISSES}
        back = {vtep for vtep in asked if self._answered[vtep] >= ANSWERS}
        return frozenset((silent | lost) - back)

    def forget(self, known: Set[str]) -> None:
        """Keep what is known of these edges only."""
        for counter in (self._missed, self._answered):
            for vtep in counter.keys() - known:
                del counter[vtep]


class Standing:
    """Whether an edge is active: for how many rounds it could not be reached, and how long no other edge was active."""

    def __init__(self) -> None:
        self._away = 0
        self._alone = 0

    def evaluate(self, active: bool, *, reachable: bool, rival: bool) -> bool:
        """Return whether an edge is active after a round.

        `active` says whether it was, `reachable` whether it is ready and echoes or answers of others have come, and `rival`
        whether another edge of its pair has answered that it is active. Who is back waits for that answer.
        """
        self._away = 0 if reachable else self._away + 1
        self._alone = self._alone + 1 if reachable and not rival and not active else 0
        return self._away < MISSES if active else self._alone >= MISSES


def passed_over(host: str, mapping: GatewayMapping, vtep: str) -> frozenset[str]:
    """Return which edges must be silent, or on standby, for a host to send to this one; nobody, if it is none of the gateway's.

    So a restarted agent learns from the kernel which edges it had left.
    """
    passed: set[str] = set()
    if any(seat.vtep == vtep for seat in mapping.seats):
        while (chosen := seat_for(host, mapping, passed).vtep) != vtep:
            passed.add(chosen)
    return frozenset(passed)
