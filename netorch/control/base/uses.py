"""Who deletes something sees that somebody began to use it meanwhile.

A group is used by interfaces and by rules, a prefix list by rules and routes, a VPC with its ranges and subnets by routes. Their
own records are not rewritten by that, because an agent would have to compile what did not change. Instead whoever begins to use
one compares its record and writes its mark, and whoever deletes or narrows it compares the mark. Users do not get in each other's
way, because they write the mark whatever stands there.
"""

from __future__ import annotations

from netorch.control.base.named import drop_name
from netorch.control.base.structure import P
from netorch.control.base.writes import ABSENT, Writes
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.read import Stored
from netorch.store.base import Store


def use_key(resource_id: str) -> str:
    """Return the key of a resource's mark."""
    return f"alloc/use/{resource_id}"


def use_revision(store: Store, resource_id: str) -> int:
    """Return the revision of a mark, 0 when nothing ever used the resource. Read it before looking for users."""
    kv = store.get(use_key(resource_id))
    return ABSENT if kv is None else kv.mod_revision


def use(writes: Writes, key: str, resource_id: str, mod_revision: int) -> None:
    """Add a new use of a resource, whose record stands at `key` as it was read."""
    writes.expect(key, mod_revision)
    writes.put(use_key(resource_id), True)


def delete_unused(writes: Writes, vpc: Vpc, part: Stored[P], use_revision: int) -> None:
    """Add the deletion of a part of a VPC that nothing uses any more."""
    writes.delete(keys.resource(part.record.id), part.mod_revision)
    writes.delete(use_key(part.record.id), use_revision)
    drop_name(writes, vpc, part.record)
