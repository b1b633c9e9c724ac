"""Connections: the operator's ports of edges, and who may have virtual interfaces on them.

Nobody but the operator changes them: all else is UnauthorizedOperation. What EC2 orders from a provider, and what a partner then
hosts for others, is here said by the operator.
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
    virtual_interfaces: int  # that the caller sees


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
    """Return a new connection: a device of an edge to which a customer's router is wired. The edge takes it for itself.

    `owner` may have virtual interfaces on any VLAN that is not hosted for somebody else. Which device carries the underlay only
    the edge itself knows.

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
    """Return hosted VLANs in order of their numbers."""
    return tuple(sorted(hosted, key=lambda one: (one.outer_vlan, one.vlan, one.owner)))


def check_port(connection: Connection, host: Host, taken: Mapping[str, str]) -> None:
    """Refuse a device that cannot be a connection's; `taken` are those of the host that are. Raises ApiError."""
    where, device = f"connection {connection.name!r}", connection.device
    need(where, violation_of_device(device))
    if host.role is not Role.EDGE:
        raise refused(where, f"host {host.name} is a {host.role.value}", "name an edge; connections are ports of edges")
    if host.uplink is not None and host.uplink.device == device:
        raise refused(where, f"{device} is the uplink of {host.name}", "name another device")
    if device in taken:
        raise refused(where, f"{device} of {host.name} is connection {taken[device]}", "name another device, or use that one")


def create_writes(writes: Writes, connection: Connection) -> None:
    """Add what stores a new connection; the caller guards its host."""
    writes.create(keys.connection(connection.name), connection)
    writes.create(keys.port(connection.host, connection.device), connection.name)


def update_connection(store: Store, caller: Caller, name: str, *, owner: str) -> Connection:
    """Give a connection to another owner, or to nobody, and return it. Hosted VLANs stay.

    Raises:
      ApiError: DirectConnectClientException for one that does not exist, a bad owner, or while the one before uses it.
    """
    return _change(store, caller, name, lambda before: msgspec.structs.replace(before, owner=owner))


def add_hosted(store: Store, caller: Caller, name: str, hosted: HostedConnection) -> Connection:
    """Let an owner have a virtual interface on a VLAN of a connection, and return the connection.

    Raises:
      ApiError: DirectConnectClientException for a connection that does not exist, a bad owner or VLAN, a VLAN that is hosted
        already, or that the connection's owner uses.
    """
    return _change(store, caller, name, lambda before: msgspec.structs.replace(before, hosted=in_order((*before.hosted, hosted))))


def remove_hosted(store: Store, caller: Caller, name: str, vlan: int, outer_vlan: int = 0) -> Connection:
    """Take a hosted VLAN away, and return the connection.

    Raises:
      ApiError: DirectConnectClientException for a connection that does not exist, a VLAN that is not hosted, or while a virtual
        interface uses it.
    """

    def without(before: Connection) -> Connection:
        kept = tuple(one for one in before.hosted if (one.vlan, one.outer_vlan) != (vlan, outer_vlan))
        if kept == before.hosted:
            what = f"VLAN {vif_rules.vlan_text(vlan, outer_vlan)} is not hosted"
            raise refused(f"connection {name}", what, f"`netorch dx connection show {name}` shows those that are")
        return msgspec.structs.replace(before, hosted=kept)

    return _change(store, caller, name, without)


def _change(store: Store, caller: Caller, name: str, change: Callable[[Connection], Connection]) -> Connection:
    """Change who may use a connection. Raises ApiError."""
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
    """Delete a connection that has no virtual interface. Its edge gives the device back.

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
    """Return the connections of which the caller may use something, by name. Raises UnreadableRecord."""
    found = (stored.record for stored in listed(store, keys.connection_prefix(), Connection).values())
    return [_info(store, caller, connection) for connection in found if seen_by(caller, connection) is not None]


def describe_connection(store: Store, caller: Caller, name: str) -> ConnectionInfo:
    """Return one connection. Raises ApiError: DirectConnectClientException."""
    return _info(store, caller, read_connection(store, caller, name).record)


def _info(store: Store, caller: Caller, connection: Connection) -> ConnectionInfo:
    """Return what the caller sees of a connection of which he sees something."""
    users = users_of(store, connection.name)
    words = [get(store, keys.tunnel_status(connection.host, user.id), VifStatus) for user in users]
    said = [word.record.carrier for word in words if word is not None]
    state = ConnectionState.DOWN if said else ConnectionState.PENDING
    return ConnectionInfo(
        connection=seen_by(caller, connection) or connection,
        state=ConnectionState.AVAILABLE if any(said) else state,
        virtual_interfaces=sum(caller.sees(user.owner) for user in users),
    )
