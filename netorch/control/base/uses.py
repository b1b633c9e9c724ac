"""Let the deletion of a resource detect uses that began meanwhile.

Interfaces and rules use a group. Rules and routes use a prefix list. Routes use a VPC with its ranges and subnets. A use does
not rewrite the used record, because then an agent would compile what did not change. Instead a transaction that adds a use
compares the record and writes its mark. A transaction that deletes or narrows the resource compares the mark. Uses do not
conflict with each other, because they write the mark without a compare.
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
    """Return the revision of a mark, 0 if nothing ever used the resource. Read it before you look for uses."""
    kv = store.get(use_key(resource_id))
    return ABSENT if kv is None else kv.mod_revision


def use(writes: Writes, key: str, resource_id: str, mod_revision: int) -> None:
    """Add a new use of a resource whose record at `key` has this revision."""
    writes.expect(key, mod_revision)
    writes.put(use_key(resource_id), True)


def drop_last_mark(writes: Writes, store: Store, mark: str, prefix: str) -> None:
    """Add the deletion of an owner's mark, if the resource about to be deleted is the last one below `prefix`."""
    known = use_revision(store, mark)  # before the list, so that a resource created in between is a conflict
    if len(store.list(prefix).kvs) == 1:
        writes.delete(use_key(mark), known)


def delete_unused(writes: Writes, vpc: Vpc, part: Stored[P], use_revision: int) -> None:
    """Add the deletion of an unused part of a VPC."""
    writes.delete(keys.resource(part.record.id), part.mod_revision)
    writes.delete(use_key(part.record.id), use_revision)
    drop_name(writes, vpc, part.record)
