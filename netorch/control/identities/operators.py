"""Operators: users with etcd's role for everything."""

from __future__ import annotations

from typing import Any

from netorch.control.identities.roles import role_of
from netorch.errors import IdentityError
from netorch.identity.users import HOST, OPERATOR, name_of
from netorch.store.access import ROOT, Access


def admit(access: Access, user: str) -> None:
    """Make a user an operator; earlier users of the same name are deleted."""
    access.add_user(user, ROOT)
    for earlier in _named(access, name_of(OPERATOR, user)):
        if earlier != user:
            access.delete_user(earlier)


def dismiss(access: Access, name: str, own: str) -> None:
    """Delete an operator; `own` is the caller's user, which stays: at least one operator must be left.

    Raises:
      IdentityError: there is no such operator, or it is the caller.
    """
    if name_of(OPERATOR, own) == name:
        raise IdentityError(f"operator {name}: that is you; let another operator do it")
    found = _named(access, name)
    if not found:
        raise IdentityError(f"operator {name}: there is none of that name; see `netorch ca list`")
    for user in found:
        access.delete_user(user)


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
