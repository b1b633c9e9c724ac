"""The security groups of an interface. Its mappings name them too, because a rule that refers to a group means addresses."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netorch.control.actions.enis import refuse_managed
from netorch.control.actions.groups import choose_groups, join
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.eni import Instance, NetworkInterface, primary_eni_id
from netorch.model.mapping import Mapping
from netorch.model.security import SecurityGroup
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.read import Stored, mappings_of, read
from netorch.store.base import Store


def modify_interface_groups(store: Store, caller: Caller, eni_id: str, groups: Sequence[str]) -> NetworkInterface:
    """Replace the security groups of an interface and return the interface.

    Raises:
      ApiError: InvalidNetworkInterfaceID.NotFound, InvalidGroup.NotFound, SecurityGroupsPerInterfaceLimitExceeded,
        MissingParameter for no group at all, InvalidParameterValue for another VPC's group, OperationNotPermitted for an
        interface of a gateway or endpoint.
    """

    def decide() -> tuple[Writes, NetworkInterface]:
        vpc, eni = read(store, caller, NetworkInterface, eni_id)
        refuse_managed(eni.record)
        if not groups:
            raise ApiError("MissingParameter", f"network interface {eni_id}: no security group is named; name one or more")
        chosen = choose_groups(store, caller, vpc.record, groups, len(eni.record.groups))
        writes = Writes()
        return writes, change_groups(writes, eni, mappings_of(store, eni.record), chosen)

    return attempt(store, decide)


def modify_instance_groups(store: Store, caller: Caller, instance_id: str, groups: Sequence[str]) -> NetworkInterface:
    """Replace the security groups of an instance's primary interface and return it. Raises ApiError as for an interface."""
    read(store, caller, Instance, instance_id)
    return modify_interface_groups(store, caller, primary_eni_id(instance_id), groups)


def change_groups(
    writes: Writes,
    eni: Stored[NetworkInterface],
    mappings: dict[str, Stored[Mapping]],
    groups: dict[str, Stored[SecurityGroup]],
) -> NetworkInterface:
    """Add the change of an interface's groups in its record and mappings, and return the interface; write nothing if equal."""
    before = eni.record
    changed = msgspec.structs.replace(before, groups=tuple(groups))
    if changed == before:
        return before
    join(writes, {group_id: stored for group_id, stored in groups.items() if group_id not in before.groups})
    writes.change(keys.resource(before.id), eni.mod_revision, changed)
    for key, mapping in mappings.items():
        writes.change(key, mapping.mod_revision, msgspec.structs.replace(mapping.record, groups=changed.groups))
    return changed
