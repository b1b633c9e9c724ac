"""The overlay's tables. Their zone map is more than rules: when a VPC releases its zone, the zone's connections go too."""

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
        """Open the tables; `flush_zone` deletes all connections of a zone. Raises KernelError."""
        super().__init__(OVERLAY, netns_fd)
        self._flush_zone = flush_zone

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Change tables, and flush the connections of each released conntrack zone: its next VPC must not inherit them.

        Zones are flushed before their release, because the map is their only record if this process ends in between; and
        again afterwards, for connections opened meanwhile.
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
