"""What a route leads to: one type for all kinds of targets."""

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
    """The kinds of targets. The value is the word in a route's text, and the prefix of the target's id."""

    LOCAL = "local"  # whatever has the address in this VPC
    BLACKHOLE = "blackhole"  # nothing: packets are dropped
    INTERFACE = "eni"
    PEERING = "pcx"
    INTERNET_GATEWAY = "igw"
    EGRESS_ONLY_GATEWAY = "eigw"
    NAT_GATEWAY = "nat"
    VPN_GATEWAY = "vgw"
    ENDPOINT = "vpce"  # a gateway endpoint
    ENDPOINT_SERVICE = "vpce-svc"  # no route leads to one; like the next one it has edges, as gateways have
    ENDPOINT_CONNECTION = "vpce-con"


# What says whether a target can take packets.
TargetRecord = NetworkInterface | PeeringConnection | GatewayMapping

# A VPC has one of these at most, so a route names its kind only.
ONLY_ONE: Final = frozenset({TargetKind.INTERNET_GATEWAY, TargetKind.EGRESS_ONLY_GATEWAY, TargetKind.VPN_GATEWAY})

# What netorch has, with what packets to it need. A later kind is one entry here, and a resource of that kind.
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

# What may take the place of `local`. EC2 adds gateway load balancer endpoints, which netorch has not.
REPLACES_LOCAL: Final = frozenset({TargetKind.INTERFACE, TargetKind.NAT_GATEWAY})


# What takes packets of one IP version only.
ONLY_VERSION: Final = {
    TargetKind.NAT_GATEWAY: 4,
    TargetKind.EGRESS_ONLY_GATEWAY: 6,
    TargetKind.VPN_GATEWAY: 4,
    TargetKind.ENDPOINT: 4,
}


class Target(msgspec.Struct, frozen=True):
    """What a route leads to."""

    kind: TargetKind
    id: str = ""  # nothing for LOCAL and BLACKHOLE

    def __str__(self) -> str:
        return self.id or self.kind.value


LOCAL: Final = Target(TargetKind.LOCAL)
BLACKHOLE: Final = Target(TargetKind.BLACKHOLE)
_ALONE: Final = {str(target): target for target in (LOCAL, BLACKHOLE)}


def takes_packets(target: TargetRecord) -> bool:
    """Return whether a target can take packets.

    That is an interface while it is attached, a peering connection while it is active, and a gateway while edges carry it.
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
    """Return whether packets of an IP version can get to a target: IPv6 ones to an interface by its own IPv6 address only."""
    if isinstance(target, GatewayMapping):
        return version == ONLY_VERSION.get(target_of(target.gateway).kind, version)
    return version == 4 or not isinstance(target, NetworkInterface) or bool(target.ipv6_address)


def _id(target: TargetRecord) -> str:
    return target.gateway if isinstance(target, GatewayMapping) else target.id


def target_of(text: str) -> Target:
    """Return the target that a stored route names: `local`, `blackhole` or an id. Raises ValueError for other texts."""
    if text in _ALONE:
        return _ALONE[text]
    kind = TargetKind(prefix_of(text))
    if not is_id(text, kind.value):
        raise ValueError(f"{text!r} is not the id of a target")
    return Target(kind, text)
