"""How many bytes of bodies are kept, of all clients together and of one VPC: those that are read before they are judged."""

from __future__ import annotations

from netorch.services.proxy import limits
from netorch.services.proxy.head import Refusal


class Bodies:
    """Counts bytes that are kept. A VPC has a part of them only, so that its clients leave others some."""

    def __init__(self, most: int = limits.LISTS, of_vpc: int = limits.LISTS_OF_VPC) -> None:
        """Take how many bytes there may be."""
        self._most = most
        self._of_vpc = of_vpc
        self._kept: dict[str, int] = {}

    def keep(self, vpc: str, size: int) -> None:
        """Count bytes of a client in a VPC.

        Raises:
          Refusal: there are too many already; these are not counted.
        """
        mine = self._kept.get(vpc, 0) + size
        if mine > self._of_vpc or self.count + size > self._most:
            raise Refusal(503, "SlowDown", "Please reduce your request rate.", "too many bytes of lists of keys are under way")
        self._kept[vpc] = mine

    def forget(self, vpc: str, size: int) -> None:
        """Count bytes no longer."""
        left = self._kept.get(vpc, 0) - size
        if left > 0:
            self._kept[vpc] = left
        else:
            self._kept.pop(vpc, None)

    @property
    def count(self) -> int:
        """Return how many bytes are kept."""
        return sum(self._kept.values())
