"""Plans that are kept in a file: somebody reads what would happen, and later exactly that happens, or nothing.

What is kept is what was planned from, not the transactions: the plan is made again when it is to be applied, with the rights of
who applies it, and has to be the same as the one that was read.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from netorch.control.apply.base.key_files import ReadFile, no_files
from netorch.control.apply.changes import Change, CloudPlan
from netorch.control.apply.cloud import plan_cloud
from netorch.control.apply.sources import IsThere
from netorch.errors import ApiError
from netorch.model.cloud import Cloud
from netorch.records.caller import Caller
from netorch.store.base import Store

_AGAIN: Final = "make the plan again: netorch plan -f VPC_YAML --out FILE"


class SavedPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan with what it was made from."""

    format: Literal["netorch-plan-1"] = "netorch-plan-1"
    store: str  # its uid
    revision: int  # of the store
    owner: str  # who planned; nobody: the operator
    source: str  # which file this was
    cloud: str  # as YAML
    changes: list[Any]  # as they were read


def save(store: Store, caller: Caller, plan: CloudPlan, *, source: str, cloud: str) -> bytes:
    """Return a plan as a file holds it."""
    kept = SavedPlan(
        store=store.uid, revision=plan.revision, owner=_owner(caller), source=source, cloud=cloud, changes=_plain(plan.changes)
    )
    return msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"


def load(name: str, data: bytes) -> SavedPlan:
    """Return a plan that a file holds. Raises ApiError: InvalidParameterValue for one that holds none."""
    try:
        return msgspec.json.decode(data, type=SavedPlan)
    except msgspec.MsgspecError as error:
        text = f"{name}: is no saved plan ({error}); {_AGAIN}, or apply a vpc.yaml with -f"
        raise ApiError("InvalidParameterValue", text) from error


def plan_again(
    store: Store, caller: Caller, saved: SavedPlan, cloud: Cloud, is_there: IsThere, read_file: ReadFile = no_files
) -> CloudPlan:
    """Return the plan that was saved, ready to be applied.

    Raises:
      ApiError: IncorrectState when what it was decided on has changed since, or when it is another store's;
        UnauthorizedOperation when somebody else made it; and as `plan_cloud`.
    """
    if saved.owner != _owner(caller):
        text = f"saved plan: was made by {saved.owner or 'the operator'}; let the same caller apply it"
        raise ApiError("UnauthorizedOperation", text)
    if saved.store != store.uid:
        raise ApiError("IncorrectState", f"saved plan: was made for another store; {_AGAIN}")
    plan = plan_cloud(store, caller, cloud, source=saved.source, is_there=is_there, read_file=read_file)
    decided_on = max((revision for step in plan.steps for revision in step.expected.values()), default=0)
    if decided_on > saved.revision or _plain(plan.changes) != saved.changes:
        text = (
            f"saved plan: was made at revision {saved.revision}, and the cloud has changed since (now {plan.revision}); {_AGAIN}"
        )
        raise ApiError("IncorrectState", text)
    return plan


def _owner(caller: Caller) -> str:
    return "" if caller.operator else caller.owner


def _plain(changes: tuple[Change, ...]) -> list[Any]:
    plain: list[Any] = msgspec.json.decode(msgspec.json.encode(changes))  # as a file gives them back
    return plain
