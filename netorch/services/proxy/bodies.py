"""Limits the bytes of buffered bodies, in total and for each VPC: bodies that the proxy reads before it judges the request."""

from __future__ import annotations

from netorch.services.proxy import limits
from netorch.services.proxy.head import Refusal


class Bodies:
    """Counts buffered bytes. Each VPC may use only a part of the total, so that others always find some."""

    def __init__(self, most: int = limits.LISTS, of_vpc: int = limits.LISTS_OF_VPC) -> None:
        """Take the limits: in total and for each VPC."""
        self._most = most
        self._of_vpc = of_vpc
        self._kept: dict[str, int] = {}

    def keep(self, vpc: str, size: int) -> None:
        """Count bytes of a client in a VPC.

        Raises:
          Refusal: the limit is exceeded; these bytes are not counted.
        """
        mine = self._kept.get(vpc, 0) + size
        if mine > self._of_vpc or self.count + size > self._most:
            raise Refusal(503, "SlowDown", "Please reduce your request rate.", "too many bytes of key lists are in transit")
        self._kept[vpc] = mine

    def forget(self, vpc: str, size: int) -> None:
        """Remove bytes from the count."""
        left = self._kept.get(vpc, 0) - size
        if left > 0:
            self._kept[vpc] = left
        else:
            self._kept.pop(vpc, None)

    @property
    def count(self) -> int:
        """Return the number of buffered bytes."""
        return sum(self._kept.values())
