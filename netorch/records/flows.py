"""The connections of what is on its way to another host, an interface or a gateway, as one host writes them for the other."""

from __future__ import annotations

from netorch.model.addr import parse_ip
from netorch.model.record import Record
from netorch.state.flow import Flow


class HandedOver(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The connections of an interface that is on its way from a host, or a part of those of a gateway.

    Stored at `hoststat/<host>/flows/<eni>` and `hoststat/<host>/handover/<gateway>/<part>`.
    """

    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        """Refuse ends that are no addresses, or not of one IP version. Raises ValueError."""
        for flow in self.flows:
            if flow.nat_source and parse_ip(flow.nat_source)[0] != 4:
                raise ValueError(f"connection {flow.source} -> {flow.destination}: {flow.nat_source} is not IPv4")
            if parse_ip(flow.source)[0] != parse_ip(flow.destination)[0]:
                raise ValueError(f"connection {flow.source} -> {flow.destination}: the ends have different IP versions")


class HandoverWord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What an edge says to the other one of its pair, while it has to. Stored at `hoststat/<host>/handover/word`."""

    asks: str = ""  # the edge that is to hand gateways over to this one
    gives: str = ""  # the edge that this one hands gateways over to
    token: str = ""  # of this handing over, and no other one
    gateways: tuple[str, ...] = ()  # that it hands over
    parts: int = 0  # how many records their connections are in
    took: str = ""  # the token of the handing over of the other edge that this one has taken all of
