"""The keys that find resources by name, `named/<kind>/<name>/<owner>/<id>`. A name never changes.

The transaction that creates a record adds its key, and the transaction that deletes the record deletes the key.
"""

from __future__ import annotations

from typing import Any

from netorch.control.base.writes import Writes
from netorch.model.ids import is_id
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import invalid, not_found
from netorch.records.kinds import BY_PREFIX, BY_TYPE
from netorch.records.names import is_indexed, key_of, names_of_owned
from netorch.records.read import Stored, read_owned
from netorch.store.base import Store


def add_name(writes: Writes, vpc: Vpc, record: Any) -> None:  # noqa: ANN401 - a VPC, or anything that a VPC has
    """Add the name key of a new resource, if its name is in the index."""
    if is_indexed(record) and (key := key_of(vpc.owner, record)):
        writes.put(key, True)


def drop_name(writes: Writes, vpc: Vpc, record: Any) -> None:  # noqa: ANN401 - as above
    """Add the deletion of the name key of a deleted resource. An older version may have made one for a name left out today."""
    if key := key_of(vpc.owner, record):
        writes.drop(key)


def owned_key(record: Any) -> str:  # noqa: ANN401 - anything of an owner's that belongs to no VPC
    """Return the name key of an owner's resource that belongs to no VPC."""
    return keys.owned(BY_TYPE[type(record)].root, record.owner, record.id)


def create_owned(writes: Writes, made: Any) -> None:  # noqa: ANN401 - as above
    """Add a new resource of an owner. The caller guards the owner's other resources."""
    writes.create(owned_key(made), made)
    for key in names_of_owned(made):
        writes.put(key, True)


def delete_owned(writes: Writes, held: Stored[Any]) -> None:
    """Add the deletion of an owner's resource. A new use of the resource rewrites its record."""
    writes.delete(owned_key(held.record), held.mod_revision)
    for key in names_of_owned(held.record):
        writes.drop(key)


def owned_id(store: Store, caller: Caller, kind: str, text: str) -> str:
    """Return the id of an owner's resource that belongs to no VPC, by its id or name (`name`, `owner/name`).

    Raises:
      ApiError: its kind's NotFound, InvalidParameterValue for a name that several resources have.
    """
    of = BY_PREFIX[kind]
    if is_id(text, kind):
        found_id: str = read_owned(store, caller, of.type, text).record.id
        return found_id
    *scope, name = text.split("/")
    owner = scope[0] if scope else "" if caller.operator else caller.owner
    named = store.list(keys.named(kind, name, owner)).kvs if len(scope) < 2 and name else ()
    found = {"/".join(kv.key.split("/")[3:1:-1]): kv.key.split("/")[4] for kv in named if caller.sees(kv.key.split("/")[3])}
    if not found:
        raise not_found(kind, text)
    if len(found) > 1:
        raise invalid(f"{of.noun} {text!r}", "several have this name", f"choose one of {', '.join(sorted(found))}")
    return next(iter(found.values()))
