"""The parts of small clouds for tests, as a file has them."""

from __future__ import annotations

import msgspec

from netorch.model.eni import Attachment
from netorch.model.mapping import MoveDirection


class MoveCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The other host of a moving interface."""

    direction: MoveDirection
    host: str


class EniCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An interface with its instance. `plugged`: the port is already where the interface moves to."""

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
    route_table: str = ""  # a name; nothing: the main one


class NatCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A NAT gateway, which the VPC's seats carry."""

    subnet: str
    address: str


class MappedCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapped peering connection of two VPCs by VNI, with what the first range of each is for the other, and its edges."""

    requester: int
    accepter: int
    aliases: tuple[str, str]
    seats: tuple[str, ...]
