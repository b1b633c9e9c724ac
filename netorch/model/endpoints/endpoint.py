"""Endpoints: how a VPC reaches services without an internet gateway. EC2's VpcEndpoint, of two types.

    gwsvc/<name>            GatewayService   a service of the operator's, such as S3
    vpc/<vni>/vpce/<id>     VpcEndpoint      a VPC's way to a service
    vpc/<vni>/pl/<id>       PrefixList       where the VPC finds a service: its prefixes, under the service's name
    bucket/<name>           BucketPolicy     who may use a bucket of a service

A gateway endpoint is in a route table by a route there: the service's prefix list leads to the endpoint. Such a route comes and
goes with the endpoint, and such a list with the VPC's first and last endpoint of the service.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

from netorch.model.record import Record
from netorch.model.vpc import Tags

SERVICE_PREFIX: Final = "com.netorch."  # of a gateway service's name as customers write it; EC2's is com.amazonaws.REGION.
NUMBER_FIRST: Final = 234  # of a gateway endpoint's VRF on edges, behind those of route tables and inlets
NUMBER_LAST: Final = 253


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
    prefixes: tuple[str, ...]  # IPv4, canonical, in order; they overlap no VPC's ranges that uses it
    upstream: str  # http://ADDRESS:PORT
    hosts: tuple[str, ...] = ()  # by which names VPCs know it, in small letters; a bucket's name may stand in front of one
    tls: str = ""  # ADDRESS:PORT to which TLS is passed on as it is; nothing: no TLS
    tags: Tags = {}

    @property
    def service_name(self) -> str:
        """Return what customers call it, e.g. com.netorch.s3."""
        return f"{SERVICE_PREFIX}{self.name}"


class BucketPolicy(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Who may use a bucket, and by which VPCs and endpoints. Stored at `bucket/<name>`.

    The operator says whose a bucket is. Its owner says who may use it.
    """

    name: str  # of the bucket
    service: str  # of a GatewayService
    owner: str
    policy: str = ""  # IAM JSON; nothing: everything is permitted that the service itself permits
    tags: Tags = {}


class VpcEndpoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An endpoint. Stored at `vpc/<vni>/vpce/<id>`; the VPC is the consumer's.

    One of type Gateway is a gateway as others are (`netorch.model.mapping.GatewayMapping`). One of type Interface has an
    interface in each of some subnets. Schema 2 added `private_dns_name`.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    type: EndpointType
    service: str  # the name of a GatewayService, or the id of an EndpointService: vpce-svc-...
    name: str = ""
    state: EndpointState = EndpointState.AVAILABLE
    policy: str = ""  # IAM JSON, of a gateway's; nothing: everything is permitted
    number: int = 0  # of a gateway's VRF on edges, NUMBER_FIRST to NUMBER_LAST: unique in the VPC
    prefix_list: str = ""  # pl-..., of a gateway's: the service's prefixes
    interfaces: tuple[str, ...] = ()  # eni-...: of an interface endpoint
    private_dns: bool = False
    private_dns_name: str = ""  # with private DNS: the service's, as it was when that was switched on
    tags: Tags = {}

    @property
    def is_named(self) -> bool:
        """Return whether it is reached by the service's private DNS name."""
        return bool(self.private_dns_name) and self.state is EndpointState.AVAILABLE
