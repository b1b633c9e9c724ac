"""Operators: users with etcd's role for everything."""

from __future__ import annotations

from typing import Any

from netorch.control.identities.roles import role_of
from netorch.errors import IdentityError
from netorch.identity.users import HOST, OPERATOR, name_of
from netorch.store.access import ROOT, Access


def admit(access: Access, user: str) -> None:
    """Make a user an operator. Earlier users of the same name stay until `replace_earlier`."""
    access.add_user(user, ROOT)


def replace_earlier(access: Access, user: str, own: str) -> None:
    """Delete the earlier users of an operator's name; `own`, the caller's user, last: etcd then refuses the caller."""
    earlier = (found for found in _named(access, name_of(OPERATOR, user)) if found != user)
    for found in sorted(earlier, key=lambda found: found == own):
        access.delete_user(found)


def dismiss(access: Access, name: str, own: str) -> bool:
    """Delete an operator, and return whether etcd knew it. The caller's user `own` stays: one operator must be left.

    Raises:
      IdentityError: the operator is the caller.
    """
    if name_of(OPERATOR, own) == name:
        raise IdentityError(f"operator {name}: that is you; let another operator do it")
    found = _named(access, name)
    for user in found:
        access.delete_user(user)
    return bool(found)


def describe_users(access: Access) -> list[dict[str, Any]]:
    """Return a row for each operator, and for each host of this store, with the number of its rights."""
    rows: list[dict[str, Any]] = []
    for user in access.users():
        if name := name_of(OPERATOR, user):
            rows.append({"kind": OPERATOR, "name": name, "user": user, "rights": "all"})
        elif (name := name_of(HOST, user)) and access.has_user(user, role_of(name)):
            rows.append({"kind": HOST, "name": name, "user": user, "rights": len(access.rights(role_of(name)) or ())})
    return rows


def _named(access: Access, name: str) -> list[str]:
    return [user for user in access.users() if name_of(OPERATOR, user) == name]
