"""The virtual interfaces of a connection, and the refusals because of them.

A transaction that creates a virtual interface compares the connection's record and writes its mark. A transaction that changes
or deletes the connection compares the mark, read before the virtual interfaces (netorch.control.base.uses).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from netorch.control.base.uses import use_key
from netorch.errors import ApiError
from netorch.model.ids import is_id, vni_of
from netorch.model.outside import vif_rules
from netorch.model.outside.direct_connect import Connection
from netorch.model.rules import Violation
from netorch.model.vpc import Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode
from netorch.records.errors import not_found
from netorch.records.read import Stored, get, read_named
from netorch.store.base import KeyValue, Store

CLIENT_ERROR: Final = "DirectConnectClientException"  # Direct Connect's code for errors that the caller can correct
SERVER_ERROR: Final = "DirectConnectServerException"  # for errors on the cloud's side


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual interface that has a VLAN of a connection."""

    id: str
    owner: str  # of its VPC; empty if the VPC cannot be read
    vlan: int
    outer_vlan: int


def refused(where: str, what: str, fix: str) -> ApiError:
    """Return an error with Direct Connect's code."""
    return ApiError(CLIENT_ERROR, f"{where}: {what}; {fix}")


def need(where: str, violation: Violation | None) -> None:
    """Raise a rule's violation, if there is one. Raises ApiError: DirectConnectClientException."""
    if violation is not None:
        raise refused(where, violation.what, violation.fix)


def operator_only(caller: Caller, where: str) -> None:
    """Refuse a change by anyone but the operator. Raises ApiError: UnauthorizedOperation."""
    if not caller.operator:
        raise ApiError("UnauthorizedOperation", f"{where}: only the operator may change connections; ask the operator")


def mark_of(name: str) -> str:
    """Return the key of a connection's mark."""
    return use_key(f"dxcon/{name}")


def read_connection(store: Store, caller: Caller, name: str) -> Stored[Connection]:
    """Return a connection of which the caller may see a part, including others' parts.

    Raises:
      ApiError: DirectConnectClientException.
    """
    stored = read_named(store, Connection, name)
    if seen_by(caller, stored.record) is None:
        raise not_found("dxcon", name)
    return stored


def seen_by(caller: Caller, connection: Connection) -> Connection | None:
    """Return a connection without VLANs hosted for others; None for a customer without any part of it."""
    if caller.operator:
        return connection
    own = tuple(hosted for hosted in connection.hosted if hosted.owner == caller.owner)
    is_own = connection.owner == caller.owner
    if not own and not is_own:
        return None
    return msgspec.structs.replace(connection, owner=connection.owner if is_own else "", hosted=own)


def users_of(store: Store, name: str) -> list[User]:
    """Return the virtual interfaces of a connection in VLAN order."""

    def owner_of(vni: int) -> str:
        vpc = get(store, keys.vpc(vni), Vpc)
        return vpc.record.owner if vpc is not None else ""

    return users_in(store.list(keys.connection_vlans(name)).kvs, owner_of)


def users_in(kvs: Iterable[KeyValue], owner_of: Callable[[int], str]) -> list[User]:
    """Return the same from the keys of a connection's VLANs; `owner_of` returns the owner of a VNI's VPC."""
    found = []
    for kv in kvs:
        outer_vlan, vlan = _vlan_of(kv.key.rpartition("/")[2])
        holder = decode(kv, str)
        owner = owner_of(vni_of(holder)) if is_id(holder, "dxvif") else ""
        found.append(User(id=holder, owner=owner, vlan=vlan, outer_vlan=outer_vlan))
    return sorted(found, key=lambda user: (user.outer_vlan, user.vlan))


def vlans_in(kvs: Iterable[KeyValue]) -> dict[str, dict[tuple[int, int], str]]:
    """Return the virtual interfaces by connection and (outer VLAN, VLAN), from keys of all kinds."""
    found: dict[str, dict[tuple[int, int], str]] = {}
    for kv in kvs:
        if kv.key.startswith(keys.connection_vlans()):
            name, _, vlan = kv.key.removeprefix(keys.connection_vlans()).partition("/")
            found.setdefault(name, {})[_vlan_of(vlan)] = decode(kv, str)
    return found


def _vlan_of(text: str) -> tuple[int, int]:
    outer_vlan, _, vlan = text.partition(".")
    return int(outer_vlan), int(vlan)


def refuse_unusable(connection: Connection, users: Iterable[User]) -> None:
    """Refuse a change of a connection's owners by which a virtual interface would lose its VLAN. Raises ApiError."""
    for user in users:
        if not vif_rules.may_use(connection, user.owner, user.vlan, user.outer_vlan):
            what = f"virtual interface {user.id} of {user.owner or 'a VPC that cannot be read'} uses VLAN"
            vlan = vif_rules.vlan_text(user.vlan, user.outer_vlan)
            raise refused(f"connection {connection.name}", f"{what} {vlan}", "delete that first")


def port_holders(kvs: Iterable[KeyValue]) -> Mapping[str, str]:
    """Return the connections by device name, from the keys of an edge's ports."""
    return {kv.key.split("/", 3)[3]: decode(kv, str) for kv in kvs}
