"""Endpoints as vpc.yaml declares them. See netorch.model.cloud."""

from __future__ import annotations

import msgspec

from netorch.model.vpc import DEFAULT_OWNER, Tags


class GatewayServiceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A service of the operator's that gateway endpoints lead to, such as S3. A file never deletes one."""

    name: str
    prefixes: list[str]  # at which VPCs reach it
    upstream: str  # where edges reach it: http://ADDRESS:PORT
    tls: str = ""  # ADDRESS:PORT to which TLS is passed on; nothing: no TLS
    hosts: list[str] = []  # the names by which VPCs know it; NAME.netorch.internal when left out
    tags: Tags = {}


class BucketDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A bucket of a service. The operator says whose it is, its owner who may use it. A file never deletes one."""

    name: str
    service: str  # s3, or com.netorch.s3
    owner: str = DEFAULT_OWNER
    policy: str | msgspec.UnsetType = msgspec.UNSET  # IAM JSON; nothing: all is permitted; left out: stays as it is
    tags: Tags = {}


class GatewayEndpointDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A gateway endpoint: the VPC's way to a service of the operator's, such as S3, from chosen route tables."""

    name: str
    service: str  # com.netorch.s3, or s3
    route_tables: list[str] = []  # the names of those that lead to it
    policy: str = ""  # IAM JSON; everything is permitted when left out
    tags: Tags = {}


class InterfaceEndpointDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An interface endpoint: addresses in the VPC's own subnets that lead to a service of another VPC.

    Its groups and tags change in place. Other subnets, or another service, make another endpoint.
    """

    name: str
    service: str  # VPC/SERVICE, OWNER/VPC/SERVICE, or the service's id
    subnets: list[str]  # names; it has an address in each
    security_groups: list[str] = []  # names; the one named `default` when left out
    private_dns: bool = False  # whether the service's private name leads to it
    tags: Tags = {}


class EndpointServiceDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A service that the VPC offers to the interface endpoints of other VPCs."""

    name: str
    subnets: list[str]  # names; connections get their addresses in the first of these that has one
    ports: list[str]  # tcp/443, or tcp/443:8443 where the targets have another one
    targets: list[str] = []  # names of instances, or ids of interfaces
    acceptance_required: bool = True
    principals: list[str] = []  # owners who may ask beside the VPC's, or *
    # OWNER/VPC/ENDPOINT, or the ids of connections: these are accepted, and others are no more. Left out: commands decide.
    accept: list[str] | msgspec.UnsetType = msgspec.UNSET
    private_dns_name: str = ""
    proxy_protocol: bool = False  # whether targets are told of each TCP connection who its consumer is
    tags: Tags = {}


def service_path(owner: str, text: str) -> tuple[str, str, str] | None:
    """Return the owner, VPC and name of a service that an endpoint of an owner's VPC names; None for what is no such text."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        return None
    *before, vpc, name = parts
    return (before[0] if before else owner, vpc, name)
