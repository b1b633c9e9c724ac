"""Endpoints: how a VPC reaches services without an internet gateway. EC2's VpcEndpoint, of two types."""

from __future__ import annotations

from enum import Enum

from netorch.model.record import Record
from netorch.model.vpc import Tags


class EndpointType(Enum):
    """How packets come to an endpoint; the values are EC2's."""

    GATEWAY = "Gateway"  # by routes of route tables
    INTERFACE = "Interface"  # by a network interface of the VPC


class EndpointState(Enum):
    """EC2's states of endpoints, as far as netorch has them."""

    PENDING_ACCEPTANCE = "pendingAcceptance"
    AVAILABLE = "available"
    REJECTED = "rejected"


class GatewayService(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A service of the operator's that gateway endpoints lead to, such as S3. Stored at `gwsvc/<name>`.

    VPCs reach it at any address of `prefixes`. The edges' proxy reaches it at `upstream`, from the outside.
    """

    name: str
    prefixes: tuple[str, ...]  # IPv4, canonical; they overlap no VPC's ranges that uses it
    upstream: str  # http://HOST:PORT or https://HOST:PORT
    tls: str = ""  # HOST:PORT to which TLS is passed on as it is; nothing: no TLS
    tags: Tags = {}


class VpcEndpoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An endpoint. Stored at `vpc/<vni>/vpce/<id>`; the VPC is the consumer's.

    One of type Gateway is a gateway as others are (`netorch.model.mapping.GatewayMapping`); `prefixes` are its
    service's. One of type Interface has an interface in each of some subnets.
    """

    id: str
    vni: int
    type: EndpointType
    service: str  # the name of a GatewayService, or the id of an EndpointService: vpce-svc-...
    name: str = ""
    state: EndpointState = EndpointState.AVAILABLE
    policy: str = ""  # IAM JSON, of a gateway's; nothing: everything is permitted
    number: int = 0  # of a gateway's VRF on edges: unique in the VPC
    prefixes: tuple[str, ...] = ()  # of a gateway's
    route_tables: tuple[str, ...] = ()  # rtb-...: those that lead to a gateway's prefixes
    interfaces: tuple[str, ...] = ()  # eni-...: of an interface endpoint
    private_dns: bool = False
    tags: Tags = {}
