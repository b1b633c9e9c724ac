"""Endpoints: a VPC's access to services without an internet gateway. EC2's VpcEndpoint, of two types.

    gwsvc/<name>            GatewayService   an operator's service, such as S3
    vpc/<vni>/vpce/<id>     VpcEndpoint      a VPC's endpoint for a service
    vpc/<vni>/pl/<id>       PrefixList       the prefixes of a service, under the service's name
    bucket/<name>           BucketPolicy     the permissions of a bucket of a service

A gateway endpoint adds a route to its route tables: from the service's prefix list to the endpoint. The route is created and
deleted with the endpoint. The list is created with the VPC's first endpoint of the service and deleted with the last.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Final

from netorch.model.record import Record
from netorch.model.vpc import Tags

SERVICE_PREFIX: Final = "com.netorch."  # prefix of a gateway service's full name; EC2's is com.amazonaws.REGION.
NUMBER_FIRST: Final = 234  # of a gateway endpoint's VRF on edges; the numbers after those of route tables and inlets
NUMBER_LAST: Final = 253


class EndpointType(Enum):
    """How packets reach an endpoint. The values are EC2's."""

    GATEWAY = "Gateway"  # by routes of route tables
    INTERFACE = "Interface"  # by a network interface of the VPC


class EndpointState(Enum):
    """The EC2 endpoint states that netorch uses."""

    PENDING_ACCEPTANCE = "pendingAcceptance"
    AVAILABLE = "available"
    REJECTED = "rejected"


class GatewayService(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An operator's service behind gateway endpoints, such as S3. Stored at `gwsvc/<name>`.

    VPCs reach it at any address of `prefixes`. The edges' proxy reaches it at `upstream`, through the external network.
    """

    name: str
    prefixes: tuple[str, ...]  # IPv4, canonical, sorted; they overlap no CIDR of a VPC that uses the service
    upstream: str  # http://ADDRESS:PORT
    hosts: tuple[str, ...] = ()  # lower-case DNS names inside VPCs; a client may prepend a bucket's name
    tls: str = ""  # ADDRESS:PORT that receives TLS unchanged; empty: no TLS
    tags: Tags = {}

    @property
    def service_name(self) -> str:
        """Return the service's full name, e.g. com.netorch.s3."""
        return f"{SERVICE_PREFIX}{self.name}"


class BucketPolicy(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The policy of a bucket: who may use it, and from which VPCs and endpoints. Stored at `bucket/<name>`.

    The operator sets the owner. The owner sets the policy.
    """

    name: str  # of the bucket
    service: str  # the name of a GatewayService
    owner: str
    policy: str = ""  # IAM JSON; empty: permits all that the service itself permits
    tags: Tags = {}


class VpcEndpoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    """An endpoint. Stored at `vpc/<vni>/vpce/<id>` of the consumer's VPC.

    An endpoint of type Gateway is a gateway with a `netorch.model.mapping.GatewayMapping`. An endpoint of type Interface has one
    interface in each of its subnets. Schema 2 added `private_dns_name`.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    vni: int
    type: EndpointType
    service: str  # the name of a GatewayService, or the id of an EndpointService: vpce-svc-...
    name: str = ""
    state: EndpointState = EndpointState.AVAILABLE
    policy: str = ""  # IAM JSON, of a gateway endpoint; empty: permits all
    number: int = 0  # of a gateway endpoint's VRF on edges, NUMBER_FIRST to NUMBER_LAST, unique in the VPC
    prefix_list: str = ""  # pl-..., of a gateway endpoint: the service's prefixes
    interfaces: tuple[str, ...] = ()  # eni-...: of an interface endpoint
    private_dns: bool = False
    private_dns_name: str = ""  # with private DNS: the service's name when private DNS was enabled
    tags: Tags = {}

    @property
    def is_named(self) -> bool:
        """Return whether the service's private DNS name resolves to this endpoint."""
        return bool(self.private_dns_name) and self.state is EndpointState.AVAILABLE
