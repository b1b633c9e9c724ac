"""The share of a VPC in the name service, which is one process: questions a second, and places for pending work.

The rule is that of the connection table (policy.md): a VPC that holds more than are free gets no more. So one VPC gets
at most half, however many interfaces it has. A VPC that holds few always gets some.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

log = logging.getLogger(__name__)

SPAN_S: Final = 0.25
QUESTIONS: Final = 384  # of a VPC in a span: 1,536 a second, more than EC2's limit for one interface
QUESTIONS_OF_ALL: Final = 768  # in a span: 3,072 a second, at 0.3 ms of work for the most expensive
_TELL_EVERY_S: Final = 60.0

Asker = tuple[int, str]  # VNI and address of an interface


class Allowance:
    """Limits the questions in each time span. Questions beyond the limit are dropped."""

    def __init__(self, of_vpc: int = QUESTIONS, of_all: int = QUESTIONS_OF_ALL) -> None:
        self._of_vpc = of_vpc
        self._of_all = of_all
        self._span = 0
        self._taken: Counter[int] = Counter()
        self._all = 0
        self._told = -_TELL_EVERY_S

    def admits(self, vni: int, now: float, count: int = 1) -> bool:
        """Return whether a VPC's question is admitted, and count it as `count` questions if so."""
        span = int(now / SPAN_S)
        if span != self._span:
            self._span, self._all = span, 0
            self._taken.clear()
        if self._taken[vni] + count > min(self._of_vpc, self._of_all - self._all):
            if now - self._told >= _TELL_EVERY_S:
                self._told = now
                log.warning("queries of VPC %d are dropped: there are too many", vni)
            return False
        self._taken[vni] += count
        self._all += count
        return True


class Places:
    """Limits the number of concurrent uses: by one interface, by one VPC, by all."""

    def __init__(self, of_one: int, of_vpc: int, of_all: int) -> None:
        self._of_one = of_one
        self._of_vpc = of_vpc
        self._of_all = of_all
        self._ones: Counter[Asker] = Counter()
        self._vpcs: Counter[int] = Counter()
        self._all = 0

    def take(self, asker: Asker) -> bool:
        """Take a place. Return whether one was free."""
        vni, _ = asker
        if self._ones[asker] >= self._of_one or self._vpcs[vni] >= min(self._of_vpc, self._of_all - self._all):
            return False
        self._ones[asker] += 1
        self._vpcs[vni] += 1
        self._all += 1
        return True

    def give(self, asker: Asker) -> None:
        """Give a place back."""
        vni, _ = asker
        self._ones[asker] -= 1
        if not self._ones[asker]:
            del self._ones[asker]
        self._vpcs[vni] -= 1
        if not self._vpcs[vni]:
            del self._vpcs[vni]
        self._all -= 1
