"""Gateways: how a VPC reaches the outside, and is reached. Edges carry them (netorch.model.mapping.GatewayMapping)."""

from __future__ import annotations

from netorch.model.record import Record
from netorch.model.vpc import Tags


class InternetGateway(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A VPC's way to the internet, and back. A VPC has one at most. Stored at `vpc/<vni>/igw/<id>`.

    It translates between public and private IPv4 addresses one to one, and keeps no state. IPv6 addresses it leaves as they are.
    """

    id: str
    vni: int
    name: str = ""
    tags: Tags = {}
