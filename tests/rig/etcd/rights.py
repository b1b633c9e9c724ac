"""Access in memory, and a store as one host's certificate shows it: what etcd does, without etcd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from netorch.errors import StoreDenied
from netorch.store.access import Right
from netorch.store.base import Compare, Delete, KeyValue, Put, Range, Store, TxnResult, Watch


class MemoryAccess:
    """Users and roles in memory."""

    def __init__(self) -> None:
        self._users: dict[str, str] = {}
        self._roles: dict[str, dict[tuple[str, bool], Right]] = {}

    def users(self) -> list[str]:
        """Return all users."""
        return sorted(self._users)

    def has_user(self, user: str, role: str) -> bool:
        """Return whether a user has a role."""
        return self._users.get(user) == role

    def add_user(self, user: str, role: str) -> None:
        """Add a user with a role."""
        self._users[user] = role

    def delete_user(self, user: str) -> None:
        """Delete a user."""
        self._users.pop(user, None)

    def add_role(self, role: str) -> None:
        """Add a role without rights."""
        self._roles.setdefault(role, {})

    def delete_role(self, role: str) -> None:
        """Delete a role."""
        self._roles.pop(role, None)

    def rights(self, role: str) -> frozenset[Right] | None:
        """Return the rights of a role."""
        found = self._roles.get(role)
        return frozenset(found.values()) if found is not None else None

    def grant(self, role: str, rights: Iterable[Right]) -> None:
        """Add rights to a role."""
        self._roles[role] |= {(right.place, right.is_prefix): right for right in rights}

    def revoke(self, role: str, rights: Iterable[Right]) -> None:
        """Remove rights from a role."""
        for right in rights:
            self._roles[role].pop((right.place, right.is_prefix), None)

    def enable(self, administrator: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Guarded:
    """A `Store` that permits what a role permits."""

    def __init__(self, store: Store, access: MemoryAccess, role: str) -> None:
        self._store, self._access, self._role = store, access, role

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a Store has
        return getattr(self._store, name)

    def get(self, key: str) -> KeyValue | None:
        """Return a key."""
        self._need(key, is_prefix=False)
        return self._store.get(key)

    def list(self, prefix: str, revision: int = 0) -> Range:
        """Return the keys of a prefix."""
        self._need(prefix, is_prefix=True)
        return self._store.list(prefix, revision)

    def revisions(self, prefix: str, revision: int = 0) -> dict[str, int]:
        """Return the mod_revision of each key with `prefix` at `revision` (0: now)."""
        self._need(prefix, is_prefix=True)
        return self._store.revisions(prefix, revision)

    def txn(self, compares: Sequence[Compare], ops: Sequence[Put | Delete]) -> TxnResult:
        """Execute a transaction."""
        for compare in compares:
            self._need(compare.key, is_prefix=False)
        for op in ops:
            self._need(op.key, is_prefix=False, write=True)
        return self._store.txn(compares, ops)

    def watch(self, prefixes: Iterable[str], from_revision: int, mark: str = "") -> Watch:
        """Return a watch."""
        wanted = list(prefixes)
        for prefix in wanted:
            self._need(prefix, is_prefix=True)
        return self._store.watch(wanted, from_revision, mark)

    def _need(self, place: str, *, is_prefix: bool, write: bool = False) -> None:
        for right in self._access.rights(self._role) or ():
            covers = place.startswith(right.place) if right.is_prefix else place == right.place and not is_prefix
            if covers and (right.write or not write):
                return
        raise StoreDenied(f"store: {self._role} may not {'write' if write else 'read'} {place}")
