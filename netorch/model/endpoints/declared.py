"""Endpoints as vpc.yaml declares them. See netorch.model.cloud."""

from __future__ import annotations

import msgspec

from netorch.model.vpc import Tags


class GatewayEndpointDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A gateway endpoint: the VPC's way to a service of the operator's, such as S3, from chosen route tables."""

    name: str
    service: str  # com.netorch.s3, or s3
    route_tables: list[str] = []  # the names of those that lead to it
    policy: str = ""  # IAM JSON; everything is permitted when left out
    tags: Tags = {}
