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
