"""The target of a route: one type for all kinds of targets."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from netorch.model.eni import NetworkInterface
from netorch.model.ids import is_id, prefix_of
from netorch.model.mapping import GatewayMapping
from netorch.model.routing.peering import PeeringConnection, PeeringStatus


class TargetKind(Enum):
    """The kinds of targets. The value is the keyword in a route's text and the prefix of the target's id."""

    LOCAL = "local"  # the holder of the address in this VPC
    BLACKHOLE = "blackhole"  # packets are dropped
    INTERFACE = "eni"
    PEERING = "pcx"
    INTERNET_GATEWAY = "igw"
    EGRESS_ONLY_GATEWAY = "eigw"
    NAT_GATEWAY = "nat"
    VPN_GATEWAY = "vgw"
    ENDPOINT = "vpce"  # a gateway endpoint
    ENDPOINT_SERVICE = "vpce-svc"  # not a route target; like ENDPOINT_CONNECTION, it has edges as gateways do
    ENDPOINT_CONNECTION = "vpce-con"


# The records that tell whether a target can take packets.
TargetRecord = NetworkInterface | PeeringConnection | GatewayMapping

# A VPC has at most one of each, so a route names the kind only.
ONLY_ONE: Final = frozenset({TargetKind.INTERNET_GATEWAY, TargetKind.EGRESS_ONLY_GATEWAY, TargetKind.VPN_GATEWAY})

# The kinds that netorch supports as targets. A new kind needs an entry here and a resource of that kind.
SUPPORTED: Final = frozenset(
    {
        TargetKind.LOCAL,
        TargetKind.BLACKHOLE,
        TargetKind.INTERFACE,
        TargetKind.PEERING,
        TargetKind.INTERNET_GATEWAY,
        TargetKind.EGRESS_ONLY_GATEWAY,
        TargetKind.NAT_GATEWAY,
        TargetKind.VPN_GATEWAY,
        TargetKind.ENDPOINT,
    }
)

# Targets that may replace `local`. EC2 also permits gateway load balancer endpoints, which netorch does not have.
REPLACES_LOCAL: Final = frozenset({TargetKind.INTERFACE, TargetKind.NAT_GATEWAY})


# Targets that take packets of one IP version only.
ONLY_VERSION: Final = {
    TargetKind.NAT_GATEWAY: 4,
    TargetKind.EGRESS_ONLY_GATEWAY: 6,
    TargetKind.VPN_GATEWAY: 4,
    TargetKind.ENDPOINT: 4,
}


class Target(msgspec.Struct, frozen=True):
    """The target of a route."""

    kind: TargetKind
    id: str = ""  # empty for LOCAL and BLACKHOLE

    def __str__(self) -> str:
        return self.id or self.kind.value


LOCAL: Final = Target(TargetKind.LOCAL)
BLACKHOLE: Final = Target(TargetKind.BLACKHOLE)
_ALONE: Final = {str(target): target for target in (LOCAL, BLACKHOLE)}


def takes_packets(target: TargetRecord) -> bool:
    """Return whether a target can take packets.

    An interface must be attached, a peering connection active, and a gateway carried by edges.
    """
    match target:
        case NetworkInterface():
            return bool(target.instance)
        case PeeringConnection():
            return target.status is PeeringStatus.ACTIVE
        case GatewayMapping():
            return bool(target.seats)


def available_targets(targets: Iterable[TargetRecord], version: int) -> frozenset[str]:
    """Return the ids of the targets that can take packets of an IP version."""
    return frozenset(_id(target) for target in targets if takes_packets(target) and _speaks(target, version))


def _speaks(target: TargetRecord, version: int) -> bool:
    """Return whether packets of an IP version can reach a target. For IPv6, an interface needs an IPv6 address."""
    if isinstance(target, GatewayMapping):
        return version == ONLY_VERSION.get(target_of(target.gateway).kind, version)
    return version == 4 or not isinstance(target, NetworkInterface) or bool(target.ipv6_address)


def _id(target: TargetRecord) -> str:
    return target.gateway if isinstance(target, GatewayMapping) else target.id


def target_of(text: str) -> Target:
    """Return the target of a stored route: `local`, `blackhole` or an id. Raises ValueError for other texts."""
    if text in _ALONE:
        return _ALONE[text]
    kind = TargetKind(prefix_of(text))
    if not is_id(text, kind.value):
        raise ValueError(f"{text!r} is not the id of a target")
    return Target(kind, text)
