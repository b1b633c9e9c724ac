"""Gateways: how a VPC reaches the outside, and is reached. Edges carry them (netorch.model.mapping.GatewayMapping)."""

from __future__ import annotations

from typing import ClassVar, Final, get_args

from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.record import Record
from netorch.model.vpc import Tags

MAX_PUBLIC: Final = 8  # elastic IPs of a NAT gateway, EC2's


class InternetGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A VPC's way to the internet, and back. A VPC has one at most. Stored at `vpc/<vni>/igw/<id>`.

    It translates between public and private IPv4 addresses one to one, and keeps no state. IPv6 addresses it leaves as they are.
    """

    id: str
    vni: int
    name: str = ""
    tags: Tags = {}


class EgressOnlyInternetGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A VPC's way to the internet for IPv6, and not back. A VPC has one at most. Stored at `vpc/<vni>/eigw/<id>`.

    Instances begin connections by it, and nobody outside does: it tracks connections. It translates no address.
    """

    id: str
    vni: int
    name: str = ""
    tags: Tags = {}


class NatGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A way to the internet for many private addresses, in the name of a few. Stored at `vpc/<vni>/nat/<id>`.

    It is in a subnet by its interface, and its packets go by that subnet's route table. Its public addresses are what stands for
    that interface's private ones (`netorch.model.mapping.PublicMapping`). No connection begins in the name of one that is in
    `draining`, which goes when those that there are have ended. Schema 2 added that.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    name: str
    subnet: str
    eni: str  # its interface, which nobody else may change
    draining: dict[str, float] = {}  # secondary private address -> when it goes at the latest, seconds since 1970
    tags: Tags = {}


# Those that a VPC has one of at most, and that lead elsewhere without another one.
OnlyGateway = InternetGateway | EgressOnlyInternetGateway | VirtualPrivateGateway
GatewayRecord = OnlyGateway | NatGateway | VpcEndpoint
Tracking = EgressOnlyInternetGateway | NatGateway  # those that have a namespace, in which connections are tracked
TRACKING: Final[tuple[type[Tracking], ...]] = get_args(Tracking)
ONLY_GATEWAYS: Final[tuple[type[OnlyGateway], ...]] = get_args(OnlyGateway)
GATEWAYS: Final[tuple[type[GatewayRecord], ...]] = get_args(GatewayRecord)
