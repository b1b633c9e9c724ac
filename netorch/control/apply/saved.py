"""Plans saved in a file: a person reads the changes, and later either exactly these changes are made, or none.

The file holds the input of the plan, not its transactions. To apply it, the plan is computed again with the rights of the
caller who applies it, and must equal the plan that was read.
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
    """A plan with its input."""

    format: Literal["netorch-plan-1"] = "netorch-plan-1"
    store: str  # uid
    revision: int  # of the store
    owner: str  # who planned; empty: the operator
    source: str  # path of the file
    cloud: str  # as YAML
    changes: list[Any]  # as shown


def save(store: Store, caller: Caller, plan: CloudPlan, *, source: str, cloud: str) -> bytes:
    """Return a plan in its saved form."""
    kept = SavedPlan(
        store=store.uid, revision=plan.revision, owner=_owner(caller), source=source, cloud=cloud, changes=_plain(plan.changes)
    )
    return msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n"


def load(name: str, data: bytes) -> SavedPlan:
    """Return a saved plan. Raises ApiError: InvalidParameterValue if the data hold none."""
    try:
        return msgspec.json.decode(data, type=SavedPlan)
    except msgspec.MsgspecError as error:
        text = f"{name}: is no saved plan ({error}); {_AGAIN}, or apply a vpc.yaml with -f"
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
    plain: list[Any] = msgspec.json.decode(msgspec.json.encode(changes))  # as read from a file
    return plain
