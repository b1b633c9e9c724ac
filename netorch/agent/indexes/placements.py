"""Whether an agent of this version can carry what a placement asks for."""

from __future__ import annotations

from netorch.errors import NewerRecord
from netorch.model.eni import Placement
from netorch.records.codec import check_schema
from netorch.records.kinds import BY_PREFIX


def why_not_carried(key: str, resource_id: str, value: bytes) -> str:
    """Return why an agent of this version cannot carry what a placement asks for, or nothing.

    The key is enough: even with an unreadable value, the agent knows which resource must stay on the host.
    """
    kind = BY_PREFIX.get(resource_id.rpartition("-")[0])
    if kind is None or not kind.placed:
        return str(NewerRecord(key, f"requests a kind of resource that agents of this version cannot carry: {resource_id}"))
    try:
        check_schema(key, value, Placement)
    except NewerRecord as error:
        return str(error)
    return ""
