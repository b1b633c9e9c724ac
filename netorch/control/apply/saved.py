"""Plans saved in a file: a person reads the changes, and later either exactly these changes are made, or none.

The file holds the input of the plan, not its transactions. To apply it, the plan is computed again with the rights of the
caller who applies it, and must equal the plan that was read. Hosts are not chosen again, because their load changes all the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from netorch.control.apply.base.key_files import ReadFile, no_files
from netorch.control.apply.changes import Action, Change, CloudPlan
from netorch.control.apply.cloud import plan_cloud
from netorch.control.apply.sources import IsThere
from netorch.errors import ApiError
from netorch.model.cloud import DEFAULT_VPC_NAME, Cloud, InstanceDecl
from netorch.model.vpc import DEFAULT_OWNER
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.hosts import condition, read_loaded
from netorch.store.base import Store

_AGAIN: Final = "plan again: netorch plan -f VPC_YAML --out FILE"


class SavedPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan with its input."""

    format: Literal["netorch-plan-1"] = "netorch-plan-1"
    store: str  # uid
    revision: int  # of the store
    owner: str  # who planned; empty: the operator
    source: str  # path of the file
    cloud: str  # as YAML
    changes: tuple[Change, ...]  # as shown


def save(store: Store, caller: Caller, plan: CloudPlan, *, source: str, cloud: str) -> bytes:
    """Return a plan in its saved form."""
    kept = SavedPlan(
        store=store.uid, revision=plan.revision, owner=_owner(caller), source=source, cloud=cloud, changes=plan.changes
    )
    return msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"


def load(name: str, data: bytes) -> SavedPlan:
    """Return a saved plan. Raises ApiError: InvalidParameterValue if the data hold none."""
    try:
        return msgspec.json.decode(data, type=SavedPlan)
    except msgspec.MsgspecError as error:
        text = f"{name}: is not a saved plan ({error}); {_AGAIN}, or apply a vpc.yaml with -f"
        raise ApiError("InvalidParameterValue", text) from error


def plan_again(
    store: Store, caller: Caller, saved: SavedPlan, cloud: Cloud, is_there: IsThere, read_file: ReadFile = no_files
) -> CloudPlan:
    """Compute a saved plan again, ready to be applied.

    Raises:
      ApiError: IncorrectState if its inputs in the store have changed since, or if it belongs to another store;
        UnauthorizedOperation if another caller made it; and as `plan_cloud`.
    """
    if saved.owner != _owner(caller):
        text = f"saved plan: was made by {saved.owner or 'the operator'}; the same caller must apply it"
        raise ApiError("UnauthorizedOperation", text)
    if saved.store != store.uid:
        raise ApiError("IncorrectState", f"saved plan: was made for another store; {_AGAIN}")
    chosen = _chosen(cloud, saved.changes)
    _check_hosts(store, {*chosen.values()})
    there = _with_hosts(cloud, chosen)
    plan = plan_cloud(store, caller, there, source=saved.source, is_there=is_there, read_file=read_file)
    expected = (item for step in plan.steps for item in step.expected.items())
    # Each placement on a host with a capacity rewrites the host's key, and the plan shows its hosts.
    decided_on = max((revision for key, revision in expected if not key.startswith(keys.accepting())), default=0)
    if decided_on > saved.revision or plan.changes != saved.changes:
        text = (
            f"saved plan: was made at revision {saved.revision}, and the cloud has changed since (now {plan.revision}); {_AGAIN}"
        )
        raise ApiError("IncorrectState", text)
    return plan


def _owner(caller: Caller) -> str:
    return "" if caller.operator else caller.owner


def _chosen(cloud: Cloud, changes: Iterable[Change]) -> dict[str, str]:
    """Return the chosen hosts of new instances, by owner/VPC/instance, without those that the file names."""
    new = (change for change in changes if change.kind == "instance" and change.action in (Action.ADD, Action.REPLACE))
    hosts = {change.path: part.after for change in new for part in change.differences if part.field == "host"}
    top = (DEFAULT_OWNER, DEFAULT_VPC_NAME, cloud.instances)
    declared = (top, *((vpc.owner, vpc.name, vpc.instances) for vpc in cloud.vpcs))
    named = {f"{owner}/{vpc}/{decl.name}" for owner, vpc, decls in declared for decl in decls if decl.host}
    return {path: host for path, host in hosts.items() if path not in named}


def _check_hosts(store: Store, names: Iterable[str]) -> None:
    """Refuse hosts that accept no instances any more. The plan itself may make hosts. Raises ApiError, UnreadableRecord."""
    for name in sorted(names):
        state = read_loaded(store, name) if store.get(keys.host_spec(name)) is not None else None
        if state is not None and (state.silent or state.drained or state.deleting):
            raise ApiError("IncorrectState", f"saved plan: host {name} is to get instances and is {condition(state)}; {_AGAIN}")


def _with_hosts(cloud: Cloud, chosen: Mapping[str, str]) -> Cloud:
    """Return a cloud that names the chosen hosts of its instances."""

    def named(owner: str, vpc: str, decls: list[InstanceDecl]) -> list[InstanceDecl]:
        hosts = ((decl, chosen.get(f"{owner}/{vpc}/{decl.name}", decl.host)) for decl in decls)
        return [msgspec.structs.replace(decl, host=host) for decl, host in hosts]

    vpcs = [msgspec.structs.replace(vpc, instances=named(vpc.owner, vpc.name, vpc.instances)) for vpc in cloud.vpcs]
    return msgspec.structs.replace(cloud, vpcs=vpcs, instances=named(DEFAULT_OWNER, DEFAULT_VPC_NAME, cloud.instances))
