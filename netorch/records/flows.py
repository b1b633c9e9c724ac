"""The tracked connections of a moving interface or gateway, which the old host writes for the new host."""

from __future__ import annotations

from netorch.model.addr import canonical_ip, version_of
from netorch.model.record import Record
from netorch.state.flow import Flow


class HandedOver(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The tracked connections of an interface that leaves a host, or a part of a gateway's connections.

    Stored at `hoststat/<host>/flows/<eni>` and `hoststat/<host>/handover/<gateway>/<part>`.
    """

    flows: tuple[Flow, ...]

    def __post_init__(self) -> None:
        """Check each connection's addresses. Raises ValueError."""
        for flow in self.flows:
            _check_addresses(flow)


def _check_addresses(flow: Flow) -> None:
    """Check that the addresses are canonical and of one IP version, and that only IPv4 is translated. Raises ValueError."""
    ends, translated = (flow.source, flow.destination), tuple(filter(None, (flow.nat_source, flow.nat_destination)))
    for address in (*ends, *translated):
        if canonical_ip(address) != address:
            raise ValueError(f"connection {flow.source} -> {flow.destination}: {address} is not in canonical form")
    if version_of(flow.source) != version_of(flow.destination):
        raise ValueError(f"connection {flow.source} -> {flow.destination}: the ends have different IP versions")
    if translated and 6 in map(version_of, (*ends, *translated)):
        raise ValueError(f"connection {flow.source} -> {flow.destination}: only IPv4 is translated, not to {translated[0]}")


class HandoverWord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A handover message from an edge to the other edge of its pair. Stored at `hoststat/<host>/handover/word`."""

    asks: str = ""  # this edge asks that edge to hand over gateways
    gives: str = ""  # this edge hands over gateways to that edge
    token: str = ""  # unique to this handover
    gateways: tuple[str, ...] = ()  # the gateways that this edge hands over
    parts: int = 0  # number of records with their connections
    took: str = ""  # token of the other edge's handover that this edge has completely taken over
