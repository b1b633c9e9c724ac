"""Endpoints as vpc.yaml declares them. See netorch.model.cloud."""

from __future__ import annotations

import msgspec

from netorch.model.vpc import DEFAULT_OWNER, Tags


class GatewayServiceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An operator's service behind gateway endpoints, such as S3. Applying a file never deletes a gateway service."""

    name: str
    prefixes: list[str]  # destination prefixes of the service inside VPCs
    upstream: str  # the server behind the edges' proxy: http://ADDRESS:PORT
    tls: str = ""  # ADDRESS:PORT that receives TLS connections; empty: no TLS
    hosts: list[str] = []  # its DNS names inside VPCs; default: NAME.netorch.internal
    tags: Tags = {}


class BucketDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A bucket of a service. The operator sets the owner, the owner sets the policy. Applying a file never deletes a bucket."""

    name: str
    service: str  # s3, or com.netorch.s3
    owner: str = DEFAULT_OWNER
    policy: str | msgspec.UnsetType = msgspec.UNSET  # IAM JSON; empty: permits all; omitted: unchanged
    tags: Tags = {}


class GatewayEndpointDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A gateway endpoint: routes to an operator's service, such as S3, in chosen route tables of the VPC."""

    name: str
    service: str  # com.netorch.s3, or s3
    route_tables: list[str] = []  # names of the tables with a route to it
    policy: str = ""  # IAM JSON; empty: permits all
    tags: Tags = {}


class InterfaceEndpointDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An interface endpoint: addresses in the VPC's own subnets for a service of another VPC.

    Groups and tags change in place. A change of the subnets or the service replaces the endpoint.
    """

    name: str
    service: str  # VPC/SERVICE, OWNER/VPC/SERVICE, or the service's id
    subnets: list[str]  # names; the endpoint has an address in each
    security_groups: list[str] = []  # names; default: the group `default`
    private_dns: bool = False  # whether the service's private DNS name resolves to it
    tags: Tags = {}


class EndpointServiceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A service that the VPC offers to the interface endpoints of other VPCs."""

    name: str
    subnets: list[str]  # names; a connection gets its address in the first subnet with a free one
    ports: list[str]  # tcp/443, or tcp/443:8443 if the targets' port differs
    targets: list[str] = []  # names of instances, or ids of interfaces
    acceptance_required: bool = True
    principals: list[str] = []  # owners that may request connections besides the VPC's owner, or *
    # OWNER/VPC/ENDPOINT, or ids of connections. Only these are accepted. Omitted: commands accept and reject.
    accept: list[str] | msgspec.UnsetType = msgspec.UNSET
    private_dns_name: str = ""
    proxy_protocol: bool = False  # whether a PROXY header tells targets the consumer of each TCP connection
    tags: Tags = {}


def service_path(owner: str, text: str) -> tuple[str, str, str] | None:
    """Return (owner, VPC, name) of the service that an endpoint of an owner's VPC names; None for a malformed text."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        return None
    *before, vpc, name = parts
    return (before[0] if before else owner, vpc, name)
