"""Changes of interface endpoints: their security groups and subnets. EC2's ModifyVpcEndpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from netorch.control.actions import enis
from netorch.control.actions.endpoints.interface import interface_writes, read_interface
from netorch.control.actions.groups import choose_groups, join
from netorch.control.base.logged import logs_of
from netorch.control.base.public import publics_of
from netorch.control.base.writes import Writes, attempt, guard_structure
from netorch.errors import ApiError
from netorch.model.endpoints.endpoint import VpcEndpoint
from netorch.model.endpoints.endpoint_service import MOST_SUBNETS
from netorch.model.eni import NetworkInterface
from netorch.model.security import SecurityGroup
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid
from netorch.records.read import Stored, get
from netorch.store.base import Store


def modify_interface_endpoint(
    store: Store,
    caller: Caller,
    endpoint_id: str,
    *,
    add_groups: Sequence[str] = (),
    remove_groups: Sequence[str] = (),
    add_subnets: Sequence[str] = (),
    remove_subnets: Sequence[str] = (),
) -> VpcEndpoint:
    """Change the security groups or subnets of an endpoint and return it. Connections through a removed subnet end.

    Raises:
      ApiError: as `create_interface_endpoint`; InvalidVpcEndpointId.NotFound, also for a gateway endpoint; MissingParameter if
        no group would be left; InvalidParameterValue to remove a subnet or group that it does not have, to add one that it has,
        or if no subnet would be left.
    """
    where = f"endpoint {endpoint_id}"

    def decide() -> tuple[Writes, VpcEndpoint]:
        vpc, stored = read_interface(store, caller, endpoint_id)
        writes = Writes()
        guard_structure(writes, vpc)
        held = [eni for eni_id in stored.record.interfaces if (eni := get(store, keys.resource(eni_id), NetworkInterface))]
        groups = _changed(where, _groups_of(held), add_groups, remove_groups)
        if not groups:
            raise ApiError("MissingParameter", f"{where}: no security group would be left; add one as well")
        chosen = choose_groups(store, caller, vpc.record, groups, len(_groups_of(held)))
        staying = [eni for eni in held if eni.record.subnet not in remove_subnets]
        subnets = _changed(where, [eni.record.subnet for eni in held], add_subnets, remove_subnets)
        if not 0 < len(subnets) <= MOST_SUBNETS:
            raise invalid(where, f"it would have {len(subnets)} subnets", f"keep 1 to {MOST_SUBNETS}")
        join(writes, chosen)
        for eni in staying:
            member = msgspec.structs.replace(eni.record, groups=tuple(chosen))
            if member != eni.record:
                writes.change(keys.resource(member.id), eni.mod_revision, member)
        _leave(writes, store, caller, vpc, (eni for eni in held if eni not in staying))
        made = _join(writes, store, caller, vpc, stored.record, subnets[len(staying) :], chosen)
        changed = msgspec.structs.replace(stored.record, interfaces=(*(eni.record.id for eni in staying), *made))
        if changed != stored.record:
            writes.change(keys.resource(endpoint_id), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def _groups_of(held: Sequence[Stored[NetworkInterface]]) -> tuple[str, ...]:
    """Return the groups of an endpoint, which all its interfaces share."""
    return held[0].record.groups if held else ()


def _changed(where: str, before: Sequence[str], more: Sequence[str], less: Sequence[str]) -> list[str]:
    """Return the remaining ids, then the new ones. Raises ApiError."""
    wrong = [(found, "it already has {}", "leave it out") for found in more if found in before]
    wrong += [(found, "it does not have {}", "name one that it has") for found in less if found not in before]
    for found, what, fix in wrong:
        raise invalid(where, what.format(found), fix)
    return [*(found for found in before if found not in less), *dict.fromkeys(more)]


def _join(
    writes: Writes,
    store: Store,
    caller: Caller,
    vpc: Stored[Vpc],
    endpoint: VpcEndpoint,
    subnets: Sequence[str],
    groups: dict[str, Stored[SecurityGroup]],
) -> tuple[str, ...]:
    """Add an interface of an endpoint in each given subnet, and return their ids. Raises ApiError."""
    if not subnets:
        return ()
    return interface_writes(writes, store, caller, f"endpoint {endpoint.id}", vpc, endpoint.id, subnets, groups)


def _leave(writes: Writes, store: Store, caller: Caller, vpc: Stored[Vpc], held: Iterable[Stored[NetworkInterface]]) -> None:
    """Add the deletion of some interfaces of an endpoint."""
    logs, publics = logs_of(store, vpc.record.vni), publics_of(store, vpc.record, caller.now())
    for eni in held:
        enis.delete_writes(writes, vpc.record, eni, {}, logs, publics)
