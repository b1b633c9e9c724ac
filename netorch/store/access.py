"""Who may read and write what in a store of many machines: users, roles, and the rights of roles.

A user is the common name of a certificate. A role is of one store. Every change takes effect at once, and repeating it is
harmless. It is not part of a transaction of records. SQLite has none of this: whoever may write the file is the operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

ROOT: Final = "root"  # the role that may do everything, also change users and roles; etcd's own name


class Right(msgspec.Struct, frozen=True, order=True):
    """What a role may read: the keys with a prefix, or one key. `write`: and write."""

    place: str
    is_prefix: bool = True
    write: bool = False


class Access(Protocol):
    """A connection that may change users and roles. Its methods raise StoreError as those of a `Store`."""

    def users(self) -> list[str]:
        """Return all users, those of other stores, too."""
        ...

    def has_user(self, user: str, role: str) -> bool:
        """Return whether a user has a role of this store."""
        ...

    def add_user(self, user: str, role: str) -> None:
        """Add a user with a role."""
        ...

    def delete_user(self, user: str) -> None:
        """Delete a user: every further request with its certificate is refused. Open watches continue (identities.md)."""
        ...

    def add_role(self, role: str) -> None:
        """Add a role that may do nothing but read and write the store's own data."""
        ...

    def delete_role(self, role: str) -> None:
        """Delete a role. Its users lose its rights."""
        ...

    def rights(self, role: str) -> frozenset[Right] | None:
        """Return the rights of a role on records; None if there is no such role."""
        ...

    def grant(self, role: str, rights: Iterable[Right]) -> None:
        """Add rights to a role. A right to write replaces the one to read the same place."""
        ...

    def revoke(self, role: str, rights: Iterable[Right]) -> None:
        """Remove rights from a role."""
        ...

    def enable(self, administrator: str) -> None:
        """Make the store refuse clients that are not users. The administrator is the caller, and gets the role ROOT."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
