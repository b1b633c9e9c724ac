"""The connections of an interface on its way to another host, as one host writes them down for the other."""

from __future__ import annotations

from netorch.model.addr import parse_ip
from netorch.model.record import Record
from netorch.state.flow import Flow


class HandedOver(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The connections of an interface that is on its way from a host. Stored at `hoststat/<host>/flows/<eni>`."""

    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        """Refuse ends that are no addresses, or not of one IP version. Raises ValueError."""
        for flow in self.flows:
            if parse_ip(flow.source)[0] != parse_ip(flow.destination)[0]:
                raise ValueError(f"connection {flow.source} -> {flow.destination}: the ends have different IP versions")
