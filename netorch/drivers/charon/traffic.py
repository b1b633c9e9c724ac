"""What a tunnel has carried, over the SAs that followed each other, and whether nothing has come in for long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from netorch.drivers.charon.sas import ChildSa
from netorch.model.status import TunnelStatus

QUIET_S: Final = 60.0  # without a packet inwards, while some leave
_SOME: Final = 10  # packets


class _Counts(msgspec.Struct):
    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


_FIELDS: Final = _Counts.__struct_fields__


class Traffic(msgspec.Struct):
    """Of one tunnel."""

    total: _Counts = msgspec.field(default_factory=_Counts)
    last: dict[str, _Counts] = {}  # of the CHILD_SAs that there are, by id
    heard: float = 0.0  # when a packet last came in, by a clock that does not jump
    sent: int = 0  # packets that had left by then

    def count(self, children: Iterable[ChildSa], now: float) -> None:
        """Add what CHILD_SAs have carried since the last call."""
        found = {child.id: _Counts(*(getattr(child, field) for field in _FIELDS)) for child in children}
        if not self.last:  # it comes up
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
        """Return for how many seconds nothing has come in although packets leave; 0 while all is well."""
        some = self.total.packets_out - self.sent >= _SOME
        return now - self.heard if self.last and some and now - self.heard >= QUIET_S else 0.0

    def put_into(self, status: TunnelStatus) -> TunnelStatus:
        """Return a status with what was counted."""
        return msgspec.structs.replace(status, **{field: getattr(self.total, field) for field in _FIELDS})
