"""EC2's metrics of a NAT gateway, from the counters of its namespace. Peak metrics are missing: they need sampling per minute.

All but ActiveConnectionCount are totals since the edge took over the gateway. EC2's metrics are per period, i.e. the difference
of two totals. Source: the VPC guide, "NAT gateway metrics and dimensions".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

ACTIVE: Final = "ActiveConnectionCount"
NO_PORT: Final = "ErrorPortAllocation"

_COUNTED: Final = {  # metric -> its counter of packets or connections (edges.nat, netorch.drivers.base)
    "ConnectionAttemptCount": "attempts",
    "ConnectionEstablishedCount": "established",
    NO_PORT: "no_port",
    "IdleTimeoutCount": "idle",
    "PacketsInFromSource": "in_from_source",
    "PacketsOutToDestination": "out_to_destination",
    "PacketsInFromDestination": "in_from_destination",
    "PacketsOutToSource": "out_to_source",
}
_BYTES: Final = {
    "BytesInFromSource": "in_from_source",
    "BytesOutToDestination": "out_to_destination",
    "BytesInFromDestination": "in_from_destination",
    "BytesOutToSource": "out_to_source",
}
_DROPPED: Final = {  # PacketsDropCount: counter -> reason
    "fragments": "fragments of TCP or ICMP",
    "protocol": "neither TCP, UDP nor ICMP",
    "no_connection": "part of no known connection; TCP is answered with a reset",
    "allowance": "the VPC holds more connections than the edge has free",
    "handing_over": "it would have opened a connection during a hand-over to another edge; TCP sends it again",
    "no_port": "no port was free for that destination",
    "table_full": "the edge's connection table was full",
}
_BORDER: Final = {  # not the gateway's own drops
    "acl_ingress": "the network ACL of the gateway's subnet denies it inbound",
    "acl_egress": "the network ACL of the gateway's subnet denies it outbound",
    "to_gateway": "from outside or for the gateway itself, and not a reply",
}
REASONS: Final = _DROPPED | _BORDER
METRICS: Final = (ACTIVE, *_COUNTED, "PacketsDropCount", *_BYTES)


def metrics_of(packets: Mapping[str, int], sizes: Mapping[str, int], active: int) -> dict[str, int]:
    """Return the nonzero metrics. `packets` and `sizes` (bytes) are by counter; `active` is the number of tracked connections."""
    found = {ACTIVE: active, "PacketsDropCount": sum(packets.get(name, 0) for name in _DROPPED)}
    found |= {metric: packets.get(name, 0) for metric, name in _COUNTED.items()}
    found |= {metric: sizes.get(name, 0) for metric, name in _BYTES.items()}
    return {metric: found[metric] for metric in METRICS if found[metric]}


def drops_of(packets: Mapping[str, int]) -> dict[str, int]:
    """Return reason -> dropped packets, without zeros."""
    return {name: packets[name] for name in REASONS if packets.get(name)}


def total(of: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return all metrics of a gateway, summed over its edges."""
    each = list(of)
    return {metric: sum(found.get(metric, 0) for found in each) for metric in METRICS}
