"""Refuse changes of an edge that its Direct Connect connections do not permit.

No connection is created while a host is set aside (netorch.control.actions.outside.departures).
"""

from __future__ import annotations

from collections.abc import Mapping

from netorch.control.actions.direct_connect.users import port_holders, refused
from netorch.model.eni import Host
from netorch.records import keys
from netorch.records.errors import in_use
from netorch.store.base import Store


def refuse_ports(store: Store, name: str) -> None:
    """Refuse to delete a host that has connections. Raises ApiError: DependencyViolation."""
    if taken := sorted(port_holders(store.list(keys.ports(name)).kvs).values()):
        what = f"{len(taken)} connection(s) of Direct Connect, e.g. {taken[0]}"
        raise in_use("host", name, what, "delete these first: netorch dx connection delete")


def check_ports(store: Store, before: Host, after: Host) -> None:
    """Refuse a change of an edge that its connections do not permit.

    Raises:
      ApiError: DirectConnectClientException for an uplink that is a connection, or for another pair while the edge has virtual
        interfaces: their gateways stay with the pair.
    """
    taken = port_holders(store.list(keys.ports(after.name)).kvs)
    check_uplink(after, taken)
    if after.pair != before.pair:
        for connection in sorted(taken.values()):
            if store.list(keys.connection_vlans(connection)).kvs:
                what = f"connection {connection} has virtual interfaces, whose gateways stay with pair {before.pair}"
                raise refused(f"host {after.name}", what, "delete these first")


def check_uplink(host: Host, taken: Mapping[str, str]) -> None:
    """Refuse an uplink that is a connection; `taken` are the host's. Raises ApiError: DirectConnectClientException."""
    if host.uplink is not None and host.uplink.device in taken:
        what = f"{host.uplink.device} is connection {taken[host.uplink.device]}"
        raise refused(f"host {host.name}", what, "name another device, or delete the connection first")
