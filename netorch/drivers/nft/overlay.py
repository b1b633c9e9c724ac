"""The tables of the overlay, whose map of zones is more than rules: connections go with the zone that a VPC gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from netorch.drivers.nft.tables import Nft
from netorch.errors import KernelError
from netorch.state.base import OVERLAY
from netorch.state.nft import freed_zone
from netorch.state.op import Delete, Failure, Op


class OverlayNft(Nft):
    """The driver of the overlay's tables."""

    def __init__(self, netns_fd: int, flush_zone: Callable[[int], None]) -> None:
        """Open; `flush_zone` forgets all connections of a zone. Raises KernelError."""
        super().__init__(OVERLAY, netns_fd)
        self._flush_zone = flush_zone

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Change tables, and forget the connections of each zone that a VPC gives back: the next one must not inherit them.

        Before the zone is given back, which is the only memory of it, in case this process ends in between; and after, for
        connections that have begun meanwhile.
        """
        failures = self._forget_freed_zones(ops)
        kept = {failure.op.obj.key for failure in failures}
        failures += super().apply([op for op in ops if op.obj.key not in kept])
        failed = {failure.op.obj.key for failure in failures}
        return failures + self._forget_freed_zones(op for op in ops if op.obj.key not in failed)

    def _forget_freed_zones(self, ops: Iterable[Op]) -> list[Failure]:
        failures = []
        for op in ops:
            if isinstance(op, Delete) and (zone := freed_zone(op.obj)):
                try:
                    self._flush_zone(zone)
                except KernelError as error:
                    failures.append(Failure(op, error))
        return failures
