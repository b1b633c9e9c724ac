"""`EtcdAccess` implements netorch.store.access in an etcd cluster.

A user has no password. A role of a store is NAME/ROLE in the cluster. It also has what any reader and writer of the store needs:
its description, marks and fences (keyspace.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from netorch.errors import StoreError
from netorch.store.access import ROOT, Right
from netorch.store.etcd import messages as pb
from netorch.store.etcd.client import Client, Refused
from netorch.store.etcd.keyspace import Keyspace, end_of
from netorch.store.etcd.messages import Message, Method


class EtcdAccess:
    """Changes users and roles of one store. The operator's certificate must be that of an administrator of etcd."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._store = client.address.name
        self._keys = Keyspace(self._store)

    def users(self) -> list[str]:
        """Return all users of the cluster."""
        return sorted(self._client.call(pb.USER_LIST, pb.AuthRequest()).users)

    def has_user(self, user: str, role: str) -> bool:
        """Return whether a user has a role of this store."""
        found = self._call(pb.USER_GET, pb.UserRequest(name=user), "user name not found")
        return found is not None and self._role(role) in found.roles

    def add_user(self, user: str, role: str) -> None:
        """Add a user with a role."""
        request = pb.UserAddRequest(name=user, options=pb.UserAddOptions(no_password=True))
        self._call(pb.USER_ADD, request, "user name already exists")
        self._call(pb.USER_GRANT_ROLE, pb.UserGrantRoleRequest(user=user, role=self._role(role)))

    def delete_user(self, user: str) -> None:
        """Delete a user: the cluster refuses all further requests with its certificate. Open watches continue (identities.md)."""
        self._call(pb.USER_DELETE, pb.UserRequest(name=user), "user name not found")

    def add_role(self, role: str) -> None:
        """Add a role that may do nothing but read and write the store's own data."""
        self._call(pb.ROLE_ADD, pb.RoleAddRequest(name=self._role(role)), "role name already exists")
        for first, end, writes in self._keys.own_data():
            self._grant(role, first, end, writes)

    def delete_role(self, role: str) -> None:
        """Delete a role. Its users lose its rights."""
        self._call(pb.ROLE_DELETE, pb.RoleRequest(role=self._role(role)), "role name not found")

    def rights(self, role: str) -> frozenset[Right] | None:
        """Return the rights of a role on records; None if there is no such role."""
        found = self._call(pb.ROLE_GET, pb.RoleRequest(role=self._role(role)), "role name not found")
        if found is None:
            return None
        return frozenset(right for item in found.perm if (right := self._right(item)) is not None)

    def grant(self, role: str, rights: Iterable[Right]) -> None:
        """Add rights to a role. A right to write replaces the one to read the same place."""
        for right in sorted(rights):
            self._grant(role, *self._range(right), right.write)

    def revoke(self, role: str, rights: Iterable[Right]) -> None:
        """Remove rights from a role."""
        for right in sorted(rights):
            first, end = self._range(right)
            request = pb.RoleRevokeRequest(role=self._role(role), key=first, range_end=end)
            self._call(pb.ROLE_REVOKE, request, "permission is not granted to the role", "role name not found")

    def enable(self, administrator: str) -> None:
        """Make the cluster refuse clients that are not users. The administrator is the caller, and gets the role ROOT."""
        self._call(pb.ROLE_ADD, pb.RoleAddRequest(name=ROOT), "role name already exists")
        for user in (ROOT, administrator):  # etcd wants the first; there is no certificate for it
            self.add_user(user, ROOT)
        self._call(pb.AUTH_ENABLE, pb.AuthRequest())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _grant(self, role: str, first: bytes, end: bytes, write: bool) -> None:
        kind = pb.READ_WRITE if write else pb.READ
        permission = pb.Permission(permType=kind, key=first, range_end=end)
        self._call(pb.ROLE_GRANT, pb.RoleGrantRequest(name=self._role(role), perm=permission))

    def _role(self, role: str) -> str:
        return role if role == ROOT else f"{self._store}/{role}"

    def _range(self, right: Right) -> tuple[bytes, bytes]:
        first = self._keys.key(right.place)
        return first, end_of(first) if right.is_prefix else b""

    def _right(self, found: Message) -> Right | None:
        """Return a permission as a right; None for one on the store's own data."""
        if not found.key.startswith(self._keys.key("")):
            return None
        return Right(self._keys.text(found.key), bool(found.range_end), found.permType == pb.READ_WRITE)

    def _call(self, method: Method, request: Message, *harmless: str) -> Message | None:
        """Return the answer; None if the cluster refuses for a harmless reason: there is nothing to do. Raises StoreError."""
        try:
            return self._client.call(method, request)
        except Refused as error:
            if any(reason in str(error) for reason in harmless):
                return None
            raise StoreError(
                f"store: {self._client.address.text()}: the cluster refuses to change users: {error.reason}; try again"
            ) from error
