"""A tunnel's traffic counters across successive SAs, and detection of missing inbound packets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from netorch.drivers.charon.sas import ChildSa
from netorch.model.status import TunnelStatus

QUIET_S: Final = 60.0  # without inbound packets while packets leave
_SOME: Final = 10  # packets


class _Counts(msgspec.Struct):
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


_FIELDS: Final = _Counts.__struct_fields__


class Traffic(msgspec.Struct):
    """The traffic of one tunnel."""

    total: _Counts = msgspec.field(default_factory=_Counts)
    last: dict[str, _Counts] = {}  # of the present CHILD_SAs, by id
    heard: float = 0.0  # time of the last inbound packet, on the monotonic clock
    sent: int = 0  # outbound packets at that time

    def count(self, children: Iterable[ChildSa], now: float) -> None:
        """Add the CHILD_SAs' traffic since the last call."""
        found = {child.id: _Counts(*(getattr(child, field) for field in _FIELDS)) for child in children}
        if not self.last:  # the tunnel comes up
            self.heard, self.sent = now, self.total.packets_out
        came = self.total.packets_in
        for id_, counts in found.items():
            before = self.last.get(id_, _Counts())
            for field in _FIELDS:
                setattr(self.total, field, getattr(self.total, field) + max(0, getattr(counts, field) - getattr(before, field)))
        self.last = found
        if self.total.packets_in != came:
            self.heard, self.sent = now, self.total.packets_out

    def quiet(self, now: float) -> float:
        """Return for how many seconds packets have left but none arrived; 0 if fine."""
        some = self.total.packets_out - self.sent >= _SOME
        return now - self.heard if self.last and some and now - self.heard >= QUIET_S else 0.0

    def put_into(self, status: TunnelStatus) -> TunnelStatus:
        """Return a status with these counters."""
        return msgspec.structs.replace(status, **{field: getattr(self.total, field) for field in _FIELDS})
