"""Ephemeral public addresses: they belong to an interface and have no record of their own."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netorch.model.eni import NetworkInterface
from netorch.model.mapping import PublicMapping
from netorch.model.vpc import Vpc
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory


class EphemeralInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An ephemeral address and its mapping."""

    mapping: PublicMapping
    vpc: Vpc
    instance: str  # id of the interface's instance


def ephemeral_addresses(inventory: Inventory, caller: Caller) -> list[EphemeralInfo]:
    """Return the ephemeral addresses that the caller sees, by owner and address."""
    return sorted(_each(inventory, caller), key=lambda info: (info.vpc.owner, info.mapping.address))


def _each(inventory: Inventory, caller: Caller) -> Iterator[EphemeralInfo]:
    for records in inventory.vpcs.values():
        vpc = records.vpc.record
        for mapping in records.each(PublicMapping) if caller.sees(vpc.owner) else ():
            if not mapping.allocation:
                eni = records.one(NetworkInterface, mapping.eni)
                yield EphemeralInfo(mapping=mapping, vpc=vpc, instance=eni.instance if eni is not None else "")
