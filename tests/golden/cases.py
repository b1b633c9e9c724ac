"""The parts of small clouds for tests, as in YAML files."""

from __future__ import annotations

import msgspec

from netorch.model.eni import Attachment
from netorch.model.mapping import MoveDirection


class MoveCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The other host of a moving interface."""

    direction: MoveDirection
    host: str


class EniCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An interface with its instance. `plugged`: the port is already on the target host of the move."""

    subnet: str
    address: str
    host: str
    ipv6_address: str = ""
    attachment: Attachment = Attachment.NETNS
    netns: str = ""
    move: MoveCase | None = None
    plugged: bool = False


class SubnetCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subnet."""

    cidr: str
    ipv6_cidr: str = ""
    route_table: str = ""  # name of the table; empty: the main table


class NatCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A NAT gateway on the VPC's seats."""

    subnet: str
    address: str


class MappedCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapped peering connection of two VPCs by VNI, with the alias of each one's first range, and its edges."""

    requester: int
    accepter: int
    aliases: tuple[str, str]
    seats: tuple[str, ...]
