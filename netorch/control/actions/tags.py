"""Tags of resources. They have no effect: no compiler reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netorch.control.apply.builder import own_tags, visible_tags
from netorch.control.base import checks
from netorch.control.base.writes import Writes, attempt
from netorch.errors import ApiError
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.kind import Scope
from netorch.records.kinds import BY_PREFIX
from netorch.records.read import read, read_named, read_owned, read_vpc
from netorch.store.base import Store


def set_tags(store: Store, caller: Caller, kind: str, resource: str, tags: Tags) -> None:
    """Set a resource's tags; netorch's own tags stay. `kind` is its id's prefix, or `host` for a host, which `resource` names.

    Raises:
      ApiError: EC2's NotFound of its kind, TagLimitExceeded, InvalidParameterValue; UnauthorizedOperation for a customer's
        host.
    """
    _change(store, caller, kind, resource, lambda _: tags)


def add_tags(store: Store, caller: Caller, kind: str, resource: str, tags: Tags) -> None:
    """Add tags to a resource; an existing key gets the new value. Raises as `set_tags`."""
    _change(store, caller, kind, resource, lambda before: {**before, **tags})


def remove_tags(store: Store, caller: Caller, kind: str, resource: str, gone: Mapping[str, str | None]) -> None:
    """Remove tags by key, those with a value only if it matches; a missing tag is no error, as in EC2.

    Raises:
      ApiError: EC2's NotFound of the resource's kind; UnauthorizedOperation for a customer's host.
    """

    def rest(before: Tags) -> Tags:
        return {key: value for key, value in before.items() if key not in gone or gone[key] not in (None, value)}

    _change(store, caller, kind, resource, rest)


def _change(store: Store, caller: Caller, kind: str, resource: str, change: Callable[[Tags], Tags]) -> None:
    where = f"{BY_PREFIX[kind].noun} {resource}"

    def decide() -> tuple[Writes, None]:
        key, record, mod_revision = _find(store, caller, kind, resource)
        wanted = own_tags(checks.tags(where, change(visible_tags(record.tags))), record.tags)
        writes = Writes()
        if wanted != record.tags:
            writes.change(key, mod_revision, msgspec.structs.replace(record, tags=wanted))
        return writes, None

    attempt(store, decide)


def _find(store: Store, caller: Caller, kind: str, resource: str) -> tuple[str, Any, int]:
    """Return a resource's key, record and revision."""
    of = BY_PREFIX[kind]
    if of.at is not None:
        if not caller.operator:
            raise ApiError("UnauthorizedOperation", f"{of.noun} {resource}: only the operator may tag {of.noun}s")
        named = read_named(store, of.type, resource)
        return of.at(resource), named.record, named.mod_revision
    if of.scope is Scope.OWNER:
        owned = read_owned(store, caller, of.type, resource)
        return keys.owned(of.root, owned.record.owner, resource), owned.record, owned.mod_revision
    if kind == "vpc":
        vpc = read_vpc(store, caller, resource)
        return keys.vpc(vpc.record.vni), vpc.record, vpc.mod_revision
    vpc, found = read(store, caller, of.type, resource)
    return keys.member(vpc.record.vni, resource), found.record, found.mod_revision
