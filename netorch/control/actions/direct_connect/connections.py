"""Connections: the operator's ports of edges, and the owners that may have virtual interfaces on them.

Only the operator changes them; others get UnauthorizedOperation. In EC2 a customer orders a connection from a provider, and a
partner hosts VLANs for others. Here the operator sets both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from netorch.control.actions.direct_connect.users import (
    mark_of,
    need,
    operator_only,
    port_holders,
    read_connection,
    refuse_unusable,
    refused,
    seen_by,
    users_of,
)
from netorch.control.base import checks, pairs
from netorch.control.base.uses import use_revision
from netorch.control.base.writes import Writes, attempt
from netorch.model.eni import Host, Role
from netorch.model.outside import vif_rules
from netorch.model.outside.direct_connect import Connection, ConnectionState, HostedConnection
from netorch.model.outside.uplink import violation_of_device
from netorch.model.status import VifStatus
from netorch.model.vpc import Tags
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.errors import duplicate_name
from netorch.records.hosts import read_host
from netorch.records.read import get, listed, read_named
from netorch.store.base import Store


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as the caller sees it."""

    connection: Connection
    state: ConnectionState
    virtual_interfaces: int  # those that the caller sees


def create_connection(
    store: Store,
    caller: Caller,
    *,
    name: str,
    host: str,
    device: str,
    owner: str = "",
    hosted: Sequence[HostedConnection] = (),
    tags: Tags | None = None,
) -> Connection:
    """Create a connection and return it: a device of an edge, wired to a customer's router. The edge takes the device over.

    `owner` may have virtual interfaces on all VLANs except those hosted for others. Only the edge itself knows which device
    carries the underlay.

    Raises:
      ApiError: InvalidHostID.NotFound, IncorrectState for an edge that is being deleted, DirectConnectClientException for a bad
        or taken name, a host that is no edge, its uplink, or a device that is a connection already; InvalidParameterValue.
    """
    where = f"connection {name!r}"
    operator_only(caller, where)

    def decide() -> tuple[Writes, Connection]:
        checks.name(where, name)
        if store.get(keys.connection(name)) is not None:
            raise duplicate_name("dxcon", name, "the cloud")
        state = read_host(store, host)
        made = Connection(
            name=name, host=host, device=device, owner=owner, hosted=in_order(hosted), tags=checks.tags(where, tags)
        )
        check_port(made, state.host, port_holders(store.list(keys.ports(host)).kvs))
        need(where, vif_rules.connection_violation(made))
        writes = Writes()
        pairs.expect_staying(writes, state)
        create_writes(writes, made)
        return writes, made

    return attempt(store, decide)


def in_order(hosted: Sequence[HostedConnection]) -> tuple[HostedConnection, ...]:
    """Return hosted VLANs in numerical order."""
    return tuple(sorted(hosted, key=lambda one: (one.outer_vlan, one.vlan, one.owner)))


def check_port(connection: Connection, host: Host, taken: Mapping[str, str]) -> None:
    """Refuse a device that cannot be a connection; `taken` maps the host's devices to connections. Raises ApiError."""
    where, device = f"connection {connection.name!r}", connection.device
    need(where, violation_of_device(device))
    if host.role is not Role.EDGE:
        raise refused(where, f"host {host.name} is a {host.role.value}", "name an edge; connections are ports of edges")
    if host.uplink is not None and host.uplink.device == device:
        raise refused(where, f"{device} is the uplink of {host.name}", "name another device")
    if device in taken:
        raise refused(where, f"{device} of {host.name} is connection {taken[device]}", "name another device, or use that one")


def create_writes(writes: Writes, connection: Connection) -> None:
    """Add the records of a new connection. The caller guards its host."""
    writes.create(keys.connection(connection.name), connection)
    writes.create(keys.port(connection.host, connection.device), connection.name)


def update_connection(store: Store, caller: Caller, name: str, *, owner: str) -> Connection:
    """Change a connection's owner, possibly to none, and return the connection. Hosted VLANs stay.

    Raises:
      ApiError: DirectConnectClientException for an unknown connection, a bad owner, or while the previous owner uses it.
    """
    return _change(store, caller, name, lambda before: msgspec.structs.replace(before, owner=owner))


def add_hosted(store: Store, caller: Caller, name: str, hosted: HostedConnection) -> Connection:
    """Host a VLAN of a connection for an owner, and return the connection.

    Raises:
      ApiError: DirectConnectClientException for an unknown connection, a bad owner or VLAN, a VLAN that is hosted already, or
        that the connection's owner uses.
    """
    return _change(store, caller, name, lambda before: msgspec.structs.replace(before, hosted=in_order((*before.hosted, hosted))))


def remove_hosted(store: Store, caller: Caller, name: str, vlan: int, outer_vlan: int = 0) -> Connection:
    """Stop hosting a VLAN, and return the connection.

    Raises:
      ApiError: DirectConnectClientException for an unknown connection, a VLAN that is not hosted, or while a virtual interface
        uses it.
    """

    def without(before: Connection) -> Connection:
        kept = tuple(one for one in before.hosted if (one.vlan, one.outer_vlan) != (vlan, outer_vlan))
        if kept == before.hosted:
            what = f"VLAN {vif_rules.vlan_text(vlan, outer_vlan)} is not hosted"
            raise refused(f"connection {name}", what, f"`netorch dx connection show {name}` lists the hosted VLANs")
        return msgspec.structs.replace(before, hosted=kept)

    return _change(store, caller, name, without)


def _change(store: Store, caller: Caller, name: str, change: Callable[[Connection], Connection]) -> Connection:
    """Change who may use a connection, and return the connection. Raises ApiError."""
    operator_only(caller, f"connection {name}")

    def decide() -> tuple[Writes, Connection]:
        writes = Writes()
        mark = use_revision(store, f"dxcon/{name}")
        stored = read_named(store, Connection, name)
        changed = change(stored.record)
        need(f"connection {name}", vif_rules.connection_violation(changed))
        refuse_unusable(changed, users_of(store, name))
        if changed != stored.record:
            writes.expect(mark_of(name), mark)
            writes.change(keys.connection(name), stored.mod_revision, changed)
        return writes, changed

    return attempt(store, decide)


def delete_connection(store: Store, caller: Caller, name: str) -> None:
    """Delete a connection without virtual interfaces. Its edge gives the device back.

    Raises:
      ApiError: DirectConnectClientException.
    """
    operator_only(caller, f"connection {name}")

    def decide() -> tuple[Writes, None]:
        writes = Writes()
        mark = use_revision(store, f"dxcon/{name}")
        stored = read_named(store, Connection, name)
        if users := users_of(store, name):
            what = f"it has {len(users)} virtual interface(s), e.g. {users[0].id}"
            raise refused(f"connection {name}", what, "delete these first")
        writes.delete(mark_of(name), mark)
        writes.delete(keys.connection(name), stored.mod_revision)
        writes.drop(keys.port(stored.record.host, stored.record.device))
        return writes, None

    attempt(store, decide)


def describe_connections(store: Store, caller: Caller) -> list[ConnectionInfo]:
    """Return the connections that the caller may use at least in part, by name. Raises UnreadableRecord."""
    found = (stored.record for stored in listed(store, keys.connection_prefix(), Connection).values())
    return [_info(store, caller, connection) for connection in found if seen_by(caller, connection) is not None]


def describe_connection(store: Store, caller: Caller, name: str) -> ConnectionInfo:
    """Return one connection. Raises ApiError: DirectConnectClientException."""
    return _info(store, caller, read_connection(store, caller, name).record)


def _info(store: Store, caller: Caller, connection: Connection) -> ConnectionInfo:
    """Return the caller's view of a connection."""
    users = users_of(store, connection.name)
    words = [get(store, keys.tunnel_status(connection.host, user.id), VifStatus) for user in users]
    said = [word.record.carrier for word in words if word is not None]
    state = ConnectionState.DOWN if said else ConnectionState.PENDING
    return ConnectionInfo(
        connection=seen_by(caller, connection) or connection,
        state=ConnectionState.AVAILABLE if any(said) else state,
        virtual_interfaces=sum(caller.sees(user.owner) for user in users),
    )
