"""Gateways between a VPC and external networks. Edges carry them (netorch.model.mapping.GatewayMapping)."""

from __future__ import annotations

from typing import ClassVar, Final, get_args

from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.outside.vpn import VirtualPrivateGateway
from netorch.model.record import Record
from netorch.model.vpc import Tags

MAX_PUBLIC: Final = 8  # elastic IPs per NAT gateway; EC2's limit


class InternetGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An internet gateway, for both directions. A VPC has at most one. Stored at `vpc/<vni>/igw/<id>`.

    It translates public and private IPv4 addresses one to one, without state. It does not translate IPv6 addresses.
    """

    id: str
    vni: int
    name: str = ""
    tags: Tags = {}


class EgressOnlyInternetGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An outbound-only gateway to the IPv6 internet. A VPC has at most one. Stored at `vpc/<vni>/eigw/<id>`.

    It tracks connections: instances can open them, external hosts cannot. It translates no addresses.
    """

    id: str
    vni: int
    name: str = ""
    tags: Tags = {}


class NatGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A NAT gateway: many private addresses share a few public ones. Stored at `vpc/<vni>/nat/<id>`.

    Its interface is in a subnet, whose route table routes its packets. Its public addresses map to the private addresses of this
    interface (`netorch.model.mapping.PublicMapping`). An address in `draining` gets no new connections, and is removed when its
    existing connections have ended. Schema 2 added `draining`.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    name: str
    subnet: str
    eni: str  # its interface, which only the gateway's own actions change
    draining: dict[str, float] = {}  # secondary private address -> deadline of its removal, seconds since 1970
    tags: Tags = {}


# Gateways of which a VPC has at most one, and which need no other gateway.
OnlyGateway = InternetGateway | EgressOnlyInternetGateway | VirtualPrivateGateway
GatewayRecord = OnlyGateway | NatGateway | VpcEndpoint
Tracking = EgressOnlyInternetGateway | NatGateway  # gateways with their own namespace and conntrack table
TRACKING: Final[tuple[type[Tracking], ...]] = get_args(Tracking)
ONLY_GATEWAYS: Final[tuple[type[OnlyGateway], ...]] = get_args(OnlyGateway)
GATEWAYS: Final[tuple[type[GatewayRecord], ...]] = get_args(GatewayRecord)
