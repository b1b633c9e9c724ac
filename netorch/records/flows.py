"""The tracked connections of a moving interface or gateway, which the old host writes for the new host."""

from __future__ import annotations

from netorch.model.addr import parse_ip
from netorch.model.record import Record
from netorch.state.flow import Flow


class HandedOver(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The tracked connections of an interface that leaves a host, or a part of a gateway's connections.

    Stored at `hoststat/<host>/flows/<eni>` and `hoststat/<host>/handover/<gateway>/<part>`.
    """

    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        """Check that both ends are addresses of one IP version. Raises ValueError."""
        for flow in self.flows:
            if flow.nat_source and parse_ip(flow.nat_source)[0] != 4:
                raise ValueError(f"connection {flow.source} -> {flow.destination}: {flow.nat_source} is not IPv4")
            if parse_ip(flow.source)[0] != parse_ip(flow.destination)[0]:
                raise ValueError(f"connection {flow.source} -> {flow.destination}: the ends have different IP versions")


class HandoverWord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A handover message from an edge to the other edge of its pair. Stored at `hoststat/<host>/handover/word`."""

    asks: str = ""  # this edge asks that edge to hand over gateways
    gives: str = ""  # this edge hands over gateways to that edge
    token: str = ""  # unique to this handover
    gateways: tuple[str, ...] = ()  # the gateways that this edge hands over
    parts: int = 0  # number of records with their connections
    took: str = ""  # token of the other edge's handover that this edge has completely taken over
