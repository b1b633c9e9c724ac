"""Stored records as the values that traces and matrices are computed from."""

from __future__ import annotations

from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import is_id
from netorch.model.security import NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Subnet
from netorch.records.vpc import VpcRecords
from netorch.trace.rulebook import Rulebook


def rulebook_of(records: VpcRecords) -> Rulebook:
    """Return a VPC's rules with the interfaces that are attached: only these have addresses that are mapped."""
    return Rulebook(
        subnets=list(records.each(Subnet)),
        interfaces=[stored.record for stored in records.of(NetworkInterface).values() if records.mappings_of(stored.record)],
        groups=list(records.each(SecurityGroup)),
        acls=list(records.each(NetworkAcl)),
        prefix_lists=list(records.each(PrefixList)),
    )


def names_of(records: VpcRecords) -> dict[str, str]:
    """Return what people call each interface: its instance's name, with the address for one that was attached later."""
    names = {}
    for stored in records.of(NetworkInterface).values():
        eni = stored.record
        instance = records.of(Instance).get(eni.instance) if is_id(eni.instance, "i") else None
        if instance is None:
            names[eni.id] = eni.name or eni.id
        elif eni.id[-17:] == eni.instance[-17:]:
            names[eni.id] = instance.record.name
        else:
            names[eni.id] = f"{instance.record.name}:{eni.address}"
    return names
